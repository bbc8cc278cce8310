"""Train CLIPSeg: a picture and the words for a thing in it to the mask of that thing, empty where it is not there."""

import torch
from torch import Tensor, nn
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, CLIPSegProcessor, ViTImageProcessorPil

from nano.fit import draw_rows, fit, halve
from nano.scenes import load_scenes
from nano.settings import MODELS, read_settings, read_training
from nano.tokenizers import CONTEXT, save_clip_tokenizer

FOLDER = MODELS / "segmenter"
ABSENT_SHARE = 0.25  # of the pictures are asked for a thing that another picture shows


def main() -> None:
    """Train and write the model with its processor."""
    settings, training = read_settings(), read_training("segmenter")
    scenes = load_scenes("train")
    size = settings["size"]
    tokenizer = save_clip_tokenizer(FOLDER)
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 96,
        "intermediate_size": 192,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "max_position_embeddings": CONTEXT,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 5,
        "num_attention_heads": 4,
        "image_size": size,
        "patch_size": 8,
    }
    config = CLIPSegConfig(
        text_config=text,
        vision_config=vision,
        projection_dim=96,
        reduce_dim=64,
        extract_layers=[1, 2, 4],
        conditional_layer=0,
        decoder_num_attention_heads=4,
        decoder_intermediate_size=256,
    )
    torch.manual_seed(settings["seed"])
    model = CLIPSegForImageSegmentation(config)
    image_processor = ViTImageProcessorPil(size={"height": size, "width": size})
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (image_processor.image_mean, image_processor.image_std))

    def loss_of(generator: torch.Generator) -> Tensor:
        rows = draw_rows(len(scenes.captions), training.batch, generator)
        kinds = torch.rand(training.batch, generator=generator).tolist()
        masks = scenes.masks(rows)
        texts = []
        for place, (row, kind) in enumerate(zip(rows.tolist(), kinds, strict=True)):
            other = int(rows[place - 1])
            if kind < ABSENT_SHARE and scenes.nouns[other] != scenes.nouns[row]:
                texts.append(scenes.nouns[other])
                masks[place] = 0
            else:
                texts.append(scenes.nouns[row] if kind < 0.6 else scenes.subjects[row])
        words = tokenizer(texts, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt")
        pictures = (scenes.pictures(rows) - mean) / std
        logits = model(pixel_values=pictures, input_ids=words.input_ids, attention_mask=words.attention_mask).logits.float()
        probabilities = logits.sigmoid()
        overlap = 2 * (probabilities * masks).sum(dim=(1, 2)) + 1
        dice = 1 - overlap / ((probabilities + masks).sum(dim=(1, 2)) + 1)
        return nn.functional.binary_cross_entropy_with_logits(logits, masks) + 0.2 * dice.mean()

    fit("segmenter", model, loss_of, training)
    model.save_pretrained(FOLDER)
    CLIPSegProcessor(image_processor, tokenizer).save_pretrained(FOLDER)
    halve(FOLDER / "model.safetensors")


if __name__ == "__main__":
    main()
