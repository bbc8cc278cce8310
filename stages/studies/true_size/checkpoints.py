"""Random checkpoints of the paper preset's models, in the layouts of their repositories.

The tokenizers of CLIP and of Stable Diffusion have their true vocabulary, which open_clip ships; BLIP's has as many words as
the true one. Random weights know nothing, so captions and scores mean nothing.
"""

import json
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stages.core.files import write_json, write_text
from stages.studies.true_size import networks

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}  # Stable Diffusion's
JUDGE, CLIP = "ViT-L-14-quickgelu", "ViT-B-32-quickgelu"
SAMPLE = "a cat"  # the phrase for which CLIPSeg's output is centred


def write_checkpoints(folder: Path, wanted: Collection[str] | None = None) -> dict[str, Path]:
    """Write models below a folder, and return the folder of each by its parameter in params.yaml.

    Args:
        folder: where they go.
        wanted: parameters whose models are written, such as ``train.base``, or their sections; None: all, some 10 GB.
    """
    writers: dict[str, tuple[tuple[str, ...], Callable[[Path], None]]] = {
        "blip": (("caption.model",), _write_blip),
        "clip": (("retrieve.clip", "train.clip"), lambda place: _write_clip(place, CLIP)),
        "judge": (("evaluate.judge",), lambda place: _write_clip(place, JUDGE)),
        "clipseg": (("segment.model", "evaluate.segmenter"), _write_clipseg),
        "vgg": (("train.vgg", "evaluate.vgg"), _write_vgg),
        "stable-diffusion": (("train.base", "evaluate.base"), _write_stable_diffusion),
        "referee": (("evaluate.referee",), _write_clipseg),  # of other weights than the segmenter: it has its own seed
    }
    made: dict[str, Path] = {}
    for seed, (name, (parameters, write)) in enumerate(writers.items()):
        named = {*parameters, *(parameter.partition(".")[0] for parameter in parameters)}
        if wanted is not None and not named & set(wanted):
            continue
        torch.manual_seed(seed)
        place = folder / name
        write(place)
        made |= dict.fromkeys(parameters, place)
    return made


def _write_blip(folder: Path) -> None:
    from transformers import BertTokenizer, BlipImageProcessorPil, BlipProcessor

    networks.blip().save_pretrained(folder)  # type: ignore[operator]
    words = [f"[unused{place}]" for place in range(networks.BLIP_TOKENS["vocab_size"])]
    words[0], words[100:104], words[30522:] = "[PAD]", ["[UNK]", "[CLS]", "[SEP]", "[MASK]"], ["[DEC]", "[ENC]"]
    words[1000 : 1000 + 2 * len(LETTERS)] = [mark + letter for letter in LETTERS for mark in ("", "##")]
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(words)}, bos_token="[DEC]")
    BlipProcessor(BlipImageProcessorPil(size={"height": 384, "width": 384}), tokenizer).save_pretrained(folder)


def _write_clip(folder: Path, architecture: str) -> None:
    import open_clip
    from safetensors.torch import save_file

    weights = networks.clip(architecture).state_dict()
    folder.mkdir(parents=True)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "open_clip_model.safetensors")
    config = {"model_cfg": open_clip.get_model_config(architecture), "preprocess_cfg": {}}
    write_json(folder / "open_clip_config.json", config)


def _write_clipseg(folder: Path) -> None:
    """Write CLIPSeg with its last bias such that about half of a picture is in a mask; else every mask is empty or full."""
    from transformers import CLIPSegProcessor, ViTImageProcessorPil

    model, tokenizer = networks.clipseg(), clip_tokenizer()
    processor = CLIPSegProcessor(ViTImageProcessorPil(size={"height": 352, "width": 352}), tokenizer)
    tokens = tokenizer([SAMPLE], padding="max_length", max_length=77, return_tensors="pt")
    with torch.no_grad():
        logits = model(**tokens, pixel_values=torch.randn(1, 3, 352, 352)).logits
        last: nn.ConvTranspose2d = model.decoder.transposed_convolution[-1]  # type: ignore[union-attr, index, assignment]
        assert last.bias is not None
        last.bias -= logits.median()
    model.save_pretrained(folder)  # type: ignore[operator]
    processor.save_pretrained(folder)


def _write_vgg(folder: Path) -> None:
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    save_file(networks.vgg16().state_dict(), folder / "model.safetensors")


def _write_stable_diffusion(folder: Path) -> None:
    """Write Stable Diffusion 1 as its repository has it: PNDM's scheduler file, and tokenizers as vocabulary and merges."""
    from diffusers import PNDMScheduler, StableDiffusionPipeline

    StableDiffusionPipeline(
        vae=networks.vae(),
        text_encoder=networks.text_encoder(),
        tokenizer=clip_tokenizer(),
        unet=networks.unet(),
        scheduler=PNDMScheduler(**SCHEDULE, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    tokenizer = folder / "tokenizer"
    content = json.loads((tokenizer / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    write_json(tokenizer / "vocab.json", content["vocab"])
    write_text(tokenizer / "merges.txt", "\n".join(["#version: 0.2", *_joined(content["merges"])]) + "\n")
    (tokenizer / "tokenizer.json").unlink()


def clip_tokenizer() -> Any:
    """Return CLIP's tokenizer with the vocabulary that open_clip ships."""
    from open_clip.tokenizer import SimpleTokenizer
    from transformers import CLIPTokenizer

    known = SimpleTokenizer()
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {names.get(token, token): number for token, number in known.encoder.items()}
    merges = sorted(known.bpe_ranks, key=known.bpe_ranks.__getitem__)
    return CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token="<|endoftext|>", model_max_length=77)


def _joined(merges: list[str | list[str]]) -> Iterator[str]:
    return (merge if isinstance(merge, str) else " ".join(merge) for merge in merges)
