"""Train the BLIP captioner on pictures and true captions."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipImageProcessorPil, BlipProcessor

from nano.fit import draw_rows, fit, halve
from nano.patches import PATCH, label_patches, patch_head, patch_loss
from nano.scenes import Scenes, cut_out, load_scenes
from nano.settings import MODELS, read_settings, read_training
from nano.tokenization import CONTEXT, bert_tokenizer
from stages.corpus import world

FOLDER = MODELS / "captioner"
CUT_OUT_SHARE = 0.3  # share of pictures that show the object on a plain colour; their captions name no place
VISION: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "patch_size": PATCH,
    "initializer_range": 0.02,  # BLIP's own 1e-10 is meant for loading weights; from it, a model long learns nothing
}
TEXT: dict[str, Any] = {
    "hidden_size": 128,
    "encoder_hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


def configuration(size: int, tokenizer: BertTokenizer) -> BlipConfig:
    """Return the configuration of the model for pictures of ``size`` pixels a side."""
    text = {
        **TEXT,
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.convert_tokens_to_ids("[DEC]"),
        "eos_token_id": tokenizer.sep_token_id,
        "sep_token_id": tokenizer.sep_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return BlipConfig(text_config=text, vision_config={**VISION, "image_size": size}, projection_dim=64)


def tokenize(scenes: Scenes, rows: Tensor, alone: Tensor, tokenizer: BertTokenizer) -> tuple[Tensor, Tensor, Tensor]:
    """Return token ids, their attention mask, and labels that ignore the padding, each (len(rows), length).

    Args:
        scenes: all scenes.
        rows: the scenes to caption.
        alone: which of these show the object on a plain colour, (len(rows),).
        tokenizer: the captioner's.
    """
    texts = [
        world.with_article(scenes.subjects[row]) if bare else scenes.captions[row]
        for row, bare in zip(rows.tolist(), alone.tolist(), strict=True)
    ]
    words = tokenizer(texts, padding=True, return_tensors="pt")
    labels = words.input_ids.clone()
    labels[:, 0] = tokenizer.convert_tokens_to_ids("[DEC]")
    labels = labels.masked_fill(words.attention_mask == 0, -100)
    return labels.masked_fill(labels == -100, tokenizer.pad_token_id), words.attention_mask, labels


def main() -> None:
    """Train and write the model with its processor."""
    settings, training = read_settings(), read_training("captioner")
    scenes = load_scenes("train")
    size = settings["size"]
    tokenizer = bert_tokenizer(FOLDER)
    torch.manual_seed(settings["seed"])
    model = BlipForConditionalGeneration(configuration(size, tokenizer))
    image_processor = BlipImageProcessorPil(size={"height": size, "width": size})
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (image_processor.image_mean, image_processor.image_std))

    # The noun is one word in eight, so the language loss alone teaches the vision tower slowly. Two heads help during
    # training and are dropped afterwards: one names the noun from the class token, one labels every patch.
    width = VISION["hidden_size"]
    heads = {"noun": nn.Linear(width, len(world.nouns())), "patches": patch_head(width)}
    trained = nn.ModuleDict({"blip": model, **heads})

    def loss_of(generator: torch.Generator) -> Tensor:
        rows = draw_rows(len(scenes.captions), training.batch, generator)
        pictures, alone = cut_out(scenes.pictures(rows), scenes.masks(rows), CUT_OUT_SHARE, generator)
        inputs, attention_mask, labels = tokenize(scenes, rows, alone, tokenizer)
        output = model(pixel_values=(pictures - mean) / std, input_ids=inputs, attention_mask=attention_mask, labels=labels)
        named = nn.functional.cross_entropy(trained["noun"](output.image_embeds[:, 0]), scenes.labels[rows])
        labelled = patch_loss(trained["patches"](output.image_embeds[:, 1:]), label_patches(scenes, rows, alone))
        return output.loss + named + labelled

    fit("captioner", trained, loss_of, training, settings["seed"])
    model.save_pretrained(FOLDER)
    BlipProcessor(image_processor, tokenizer).save_pretrained(FOLDER)
    halve(FOLDER / "model.safetensors")


if __name__ == "__main__":
    main()
