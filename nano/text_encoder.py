"""Train the text encoder of the latent diffusion model on alt texts, and write it with its tokenizer.

Stable Diffusion's is that of a CLIP, which was trained on the web's pictures and alt texts. So is this one; its vision tower is
dropped. From the diffusion loss alone a new text encoder learns very slowly which word of an alt text a picture shows.
"""

import math

import torch
from open_clip.modified_resnet import ModifiedResNet
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from nano.fit import draw_rows, fit, halve
from nano.scenes import Scenes, cut_out, load_scenes
from nano.settings import MODELS, read_settings, read_training
from nano.tokenization import CONTEXT, clip_tokenizer, world_words
from stages.corpus import alt_texts
from stages.corpus.alt_texts import CUT_OUT_PLACE, alt_text
from stages.models.tensors import device

FOLDER, TOKENIZER = MODELS / "diffusion" / "text_encoder", MODELS / "diffusion" / "tokenizer"
WIDTH = 128
CUT_OUT_SHARE = 0.25  # of the pictures; they show an object on a plain colour, as shops do
VISION = {"layers": [2, 2, 2, 2], "output_dim": WIDTH, "heads": 4, "width": 20}


def build(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Return an untrained text encoder."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=CONTEXT,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,
        )
    )


def describe(scenes: Scenes, rows: Tensor, alone: Tensor, seeds: Tensor) -> list[str]:
    """Return an alt text of each picture.

    Args:
        scenes: all scenes.
        rows: the scenes that the pictures show, (n,).
        alone: which of the pictures show the object on a plain colour, (n,).
        seeds: decide the texts, (n,).
    """
    drawn = zip(rows.tolist(), alone.tolist(), seeds.tolist(), strict=True)
    return [
        alt_text(scenes.nouns[row], scenes.subjects[row], CUT_OUT_PLACE if bare else scenes.sceneries[row], seed)
        for row, bare, seed in drawn
    ]


def token_ids(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """Return the token ids of texts, (len(texts), CONTEXT), on the device."""
    ids: Tensor = tokenizer(texts, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt").input_ids.to(
        device()
    )
    return ids


def main() -> None:
    """Train, and write text encoder and tokenizer."""
    torch.set_default_device(device())
    settings, training = read_settings(), read_training("text_encoder")
    size = settings["reduced_size"]
    scenes, tokenizer = load_scenes("train", size), clip_tokenizer({*world_words(), *alt_texts.words()})
    torch.manual_seed(settings["seed"])
    text_encoder = build(tokenizer)
    model = nn.ModuleDict(
        {
            "text_encoder": text_encoder,
            "vision": ModifiedResNet(**VISION, image_size=size),
            "projection": nn.Linear(WIDTH, WIDTH, bias=False),
        }
    )
    log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
    model.register_parameter("log_scale", log_scale)

    def loss_of(generator: torch.Generator) -> Tensor:
        rows = draw_rows(len(scenes.captions), training.batch, generator)
        pictures, alone = cut_out(scenes.pictures(rows), scenes.masks(rows), CUT_OUT_SHARE, generator)
        texts = describe(scenes, rows, alone, torch.randint(2**62, (training.batch,), generator=generator))
        embedded = model["projection"](text_encoder(token_ids(tokenizer, texts)).pooler_output)
        seen = model["vision"](pictures * 2 - 1)
        logits = log_scale.exp().clamp(max=100) * nn.functional.normalize(seen) @ nn.functional.normalize(embedded).T
        own = torch.arange(training.batch)
        return (nn.functional.cross_entropy(logits, own) + nn.functional.cross_entropy(logits.T, own)) / 2

    fit("text_encoder", model, loss_of, training, settings["seed"])
    text_encoder.save_pretrained(FOLDER)
    halve(FOLDER / "model.safetensors")
    tokenizer.save_pretrained(TOKENIZER)


if __name__ == "__main__":
    main()
