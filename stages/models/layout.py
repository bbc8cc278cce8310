"""Which files of a model's repository or folder the loaders read; the others are neither downloaded nor copied.

Three layouts are known: diffusers' (a folder for each part), open_clip's, and that of transformers, timm and torchvision. Of
several variants of the same weights one is read, from safetensors: the full one, or half precision where there is no other.
"""

import re
from collections.abc import Iterable, Sequence

from stages.core.errors import cut, first_line

INDEX = "model_index.json"
OPEN_CLIP = "open_clip_config.json"
PARTS = {  # of a diffusers folder: folder → how the names of its weights begin; None: it has none
    "scheduler": None,
    "text_encoder": "model",
    "text_encoder_2": "model",
    "tokenizer": None,
    "tokenizer_2": None,
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
}
SECOND = ("text_encoder_2", "tokenizer_2")  # of Stable Diffusion XL only
TEXTS = (".json", ".txt")
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
SAFETENSORS = ".safetensors"
LORA = "pytorch_lora_weights.safetensors"  # the name that diffusers looks for in the folder of a LoRA
FULL, HALF = ("",), (".fp16",)  # what stands between the name of weights and their suffix


class LayoutError(ValueError):
    """A repository or folder lacks weights that the loaders read; the message names them and what there is instead."""


def needed_files(names: Iterable[str]) -> list[str]:
    """Return the files that the loaders read, sorted.

    Args:
        names: all files of the repository or folder, as paths with slashes relative to it.

    Raises:
        LayoutError: weights are missing, or there are pickled ones only.
    """
    present = set(names)
    if INDEX not in present:
        return sorted(_texts(present) | _weights(present, "open_clip_model" if OPEN_CLIP in present else "model", FULL))
    needed = {INDEX}
    for part, weights in PARTS.items():
        inside = {name for name in present if name.startswith(f"{part}/")}
        needed |= _texts(inside, part)
        if part.startswith("tokenizer") and (inside or part not in SECOND):
            _check_tokenizer(inside, part)
        if weights is not None and (inside or part not in SECOND):
            needed |= _weights(inside, f"{part}/{weights}", (*FULL, *HALF))
    return sorted(needed)


def _check_tokenizer(names: set[str], folder: str) -> None:
    """Raise LayoutError if a tokenizer has neither its file nor vocabulary and merges."""
    if f"{folder}/tokenizer.json" in names or {f"{folder}/vocab.json", f"{folder}/merges.txt"} <= names:
        return
    raise LayoutError(f"no {folder}/tokenizer.json, nor {folder}/vocab.json with merges.txt")


def _texts(names: set[str], folder: str = "") -> set[str]:
    """Return the configurations and vocabularies that lie in a folder itself."""
    return {name for name in names if name.rpartition("/")[0] == folder and name.endswith(TEXTS) and ".index." not in name}


def _weights(names: set[str], start: str, variants: Sequence[str]) -> set[str]:
    """Return the file of weights whose path starts so or, where they are split, the parts and their index.

    The first of ``variants`` that is there counts.
    """
    for variant in variants:
        whole, index = f"{start}{variant}{SAFETENSORS}", f"{start}{SAFETENSORS}.index{variant}.json"
        split = re.compile(rf"{re.escape(f'{start}{variant}')}-\d{{5}}-of-\d{{5}}{re.escape(SAFETENSORS)}")
        parts = {name for name in names if split.fullmatch(name)}
        if whole in names:
            return {whole}
        if index in names and parts:
            count = int(min(parts).removesuffix(SAFETENSORS)[-5:])
            if len(parts) != count:
                raise LayoutError(f"{start}{variant}{SAFETENSORS} is in {count} parts, and {len(parts)} of them here")
            return {index, *parts}
    folder = start.rpartition("/")[0]
    others = sorted(name for name in names if name.rpartition("/")[0] == folder and name.endswith((SAFETENSORS, *PICKLED)))
    raise LayoutError(first_line(f"no {start}{SAFETENSORS}" + (f", only {cut(', '.join(others))}" if others else "")))
