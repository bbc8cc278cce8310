"""Copies of a diffusers folder: of the files that are read and no others, in full or in half precision."""

import re
import shutil
from pathlib import Path
from typing import Any

from stages.core.errors import InputError
from stages.core.files import read_json, write_json
from stages.models.layout import INDEX, PARTS, SAFETENSORS, LayoutError, needed_files

CHECK = "requires_safety_checker"  # in an index: whether diffusers warns where there is none; if it is not there, it does
HALF_WEIGHTS = re.compile(r"\.fp16(?=-\d{5}-of-|\.safetensors$|\.json$)")  # in names of weights and of their indices
SHARDS = f"{SAFETENSORS}.index."  # in the names of files that say which weights lie where
NOTHING = [None, None]  # in an index: the library and the class of a part that is not there


def copied_files(folder: Path) -> dict[str, str]:
    """Return the files of a diffusers folder that are copied → their names in a copy, as paths relative to either folder.

    Weights in half precision lose the ending that says so: diffusers looks for weights of one ending in all parts, and the
    U-Net that a training writes has none.

    Raises:
        InputError: it lacks weights.
    """
    try:
        names = needed_files(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    except LayoutError as error:
        raise InputError(f"{folder}: {error}") from None
    return {name: _without_variant(name) for name in names}


def copied_shards(index: Path) -> dict[str, Any]:
    """Return the index of weights that are split, as it is in a copy: it names the copies of their files."""
    content: dict[str, Any] = read_json(index)
    return content | {"weight_map": {key: _without_variant(name) for key, name in content["weight_map"].items()}}


def _without_variant(name: str) -> str:
    return HALF_WEIGHTS.sub("", name)


def copied_index(folder: Path) -> dict[str, Any]:
    """Return the index of a copy, in which parts that are not copied, such as the safety checker, are not there."""
    index: dict[str, Any] = read_json(folder / INDEX)
    left_out = {part for part, value in index.items() if isinstance(value, list) and part not in PARTS}
    no_check = {CHECK: False} if "safety_checker" in index and index.get(CHECK, True) else {}
    return index | dict.fromkeys(left_out, NOTHING) | no_check


def copy_model(source: Path, target: Path, *, without: str | None = None) -> None:
    """Copy the files of a diffusers folder that are read, byte for byte; its index and those of weights anew, if they change.

    Args:
        source: the folder.
        target: the folder to write, made if it is missing.
        without: a part that the caller writes.

    Raises:
        InputError: the source lacks weights.
    """
    for name, copied in copied_files(source).items():
        if without is None or not name.startswith(f"{without}/"):
            (target / copied).parent.mkdir(parents=True, exist_ok=True)
            if SHARDS in name and name != copied:
                write_json(target / copied, copied_shards(source / name))
            else:
                shutil.copyfile(source / name, target / copied)
    index = copied_index(source)
    if index != read_json(source / INDEX):
        write_json(target / INDEX, index)


def halve(folder: Path) -> None:
    """Turn all weights of a folder that are of 32 bits into 16 (IEEE half precision), in place."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    for path in sorted(folder.rglob(f"*{SAFETENSORS}")):
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        weights = load_file(path)
        halved = {name: value.half() if value.dtype == torch.float32 else value for name, value in weights.items()}
        save_file(halved, path, metadata=metadata)
