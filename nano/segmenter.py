"""Train CLIPSeg to mask the object that a text names, with an empty mask if the picture does not show it.

``python -m nano.segmenter segmenter`` trains the pipeline's segmenter; ``referee`` trains a smaller one from another seed,
which only judges edits that have no true mask.
"""

import sys
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, CLIPSegProcessor, CLIPTokenizer, ViTImageProcessorPil

from nano.fit import draw_rows, fit, halve
from nano.patches import PATCH, label_patches, patch_head, patch_loss
from nano.scenes import cut_out, load_scenes
from nano.settings import MODELS, read_settings, read_training
from nano.tokenization import CONTEXT, save_clip_tokenizer
from stages.corpus import world

VISION: dict[str, dict[str, int]] = {
    "segmenter": {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 5},
    "referee": {"hidden_size": 72, "intermediate_size": 216, "num_hidden_layers": 4},
}
TEXT: dict[str, dict[str, int]] = {
    "segmenter": {"hidden_size": 96, "intermediate_size": 192, "num_attention_heads": 3},
    "referee": {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2},
}
DECODER: dict[str, dict[str, Any]] = {
    "segmenter": {"projection_dim": 96, "reduce_dim": 64, "extract_layers": [1, 2, 4], "decoder_intermediate_size": 256},
    "referee": {"projection_dim": 64, "reduce_dim": 48, "extract_layers": [0, 1, 3], "decoder_intermediate_size": 128},
}
CUT_OUT_SHARE = 0.3  # share of pictures that show the object on a plain colour
ABSENT_SHARE = 0.35  # share of pictures paired with an object of another picture


def segment(
    model: CLIPSegForImageSegmentation, pictures: Tensor, words: Tensor, attention_mask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the model's outputs with gradients for its CLIP, which the model's own forward freezes.

    Args:
        model: the segmenter.
        pictures: normalised pictures, (n, 3, size, size).
        words: token ids, (n, length), length at most CONTEXT.
        attention_mask: 1 on the words, 0 on padding, (n, length).

    Returns:
        mask logits, (n, size, size), picture embeddings, (n, projection), and hidden states of the patches,
        (n, patches, hidden).
    """
    vision = model.clip.get_image_features(pixel_values=pictures, output_hidden_states=True)
    embedded_words = model.clip.get_text_features(input_ids=words, attention_mask=attention_mask).pooler_output
    activations = [vision.hidden_states[layer + 1] for layer in model.extract_layers]
    return model.decoder(activations, embedded_words).logits.float(), vision.pooler_output, vision.hidden_states[-1][:, 1:]


def configuration(name: str, size: int, tokenizer: CLIPTokenizer) -> CLIPSegConfig:
    """Return the configuration of one of the two models."""
    text = {
        **TEXT[name],
        "vocab_size": len(tokenizer),
        "num_hidden_layers": 2,
        "max_position_embeddings": CONTEXT,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {**VISION[name], "num_attention_heads": 4, "image_size": size, "patch_size": PATCH}
    return CLIPSegConfig(
        text_config=text, vision_config=vision, conditional_layer=0, decoder_num_attention_heads=4, **DECODER[name]
    )


def main() -> None:
    """Train and write one of the two models with its processor."""
    name = sys.argv[1]
    settings, training, folder = read_settings(), read_training(name), MODELS / name
    scenes = load_scenes("train")
    size = settings["size"]
    tokenizer = save_clip_tokenizer(folder)
    config = configuration(name, size, tokenizer)
    torch.manual_seed(settings["seed"] + (name == "referee"))
    model = CLIPSegForImageSegmentation(config)
    image_processor = ViTImageProcessorPil(size={"height": size, "width": size})
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (image_processor.image_mean, image_processor.image_std))

    trained = nn.ModuleDict({"clipseg": model, "patches": patch_head(VISION[name]["hidden_size"])})
    every_noun = tokenizer(list(world.nouns()), padding=True, return_tensors="pt")

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
                texts.append(scenes.nouns[row] if kind < 0.7 else scenes.subjects[row])
        words = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        pictures, alone = cut_out(scenes.pictures(rows), scenes.masks(rows), CUT_OUT_SHARE, generator)
        logits, images, patches = segment(model, (pictures - mean) / std, words.input_ids, words.attention_mask)
        probabilities = logits.sigmoid()
        overlap = 2 * (probabilities * masks).sum(dim=(1, 2)) + 1
        dice = 1 - overlap / ((probabilities + masks).sum(dim=(1, 2)) + 1)
        # CLIPSeg builds on a trained CLIP; here that is trained along with it.
        noun_words = model.clip.get_text_features(**every_noun).pooler_output
        likeness = nn.functional.normalize(images) @ nn.functional.normalize(noun_words).T
        named = nn.functional.cross_entropy(model.clip.logit_scale.exp() * likeness, scenes.labels[rows])
        labelled = patch_loss(trained["patches"](patches), label_patches(scenes, rows, alone))
        return nn.functional.binary_cross_entropy_with_logits(logits, masks) + 0.2 * dice.mean() + 0.3 * (named + labelled)

    fit(name, trained, loss_of, training, settings["seed"])
    model.save_pretrained(folder)
    CLIPSegProcessor(image_processor, tokenizer).save_pretrained(folder)
    halve(folder / "model.safetensors")


if __name__ == "__main__":
    main()
