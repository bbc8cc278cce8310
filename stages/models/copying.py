"""Copies of a diffusers folder: of the files that are read and no others, in full or in half precision."""

import shutil
from pathlib import Path
from typing import Any

from stages.core.files import read_json, write_json
from stages.models.layout import INDEX, PARTS, SAFETENSORS, needed_files

CHECK = "requires_safety_checker"  # in an index: whether diffusers warns where there is none
NOTHING = [None, None]  # in an index: the library and the class of a part that is not there


def copied_files(folder: Path) -> list[str]:
    """Return the files of a diffusers folder that are copied, as paths relative to it; all but the index as they are.

    Raises:
        LayoutError: it lacks weights.
    """
    return needed_files(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def copied_index(folder: Path) -> dict[str, Any]:
    """Return the index of a copy, in which parts that are not copied, such as the safety checker, are not there."""
    index: dict[str, Any] = read_json(folder / INDEX)
    left_out = {part for part, value in index.items() if isinstance(value, list) and part not in PARTS}
    no_check = {CHECK: False} if index.get(CHECK) else {}
    return index | dict.fromkeys(left_out, NOTHING) | no_check


def copy_model(source: Path, target: Path, *, without: str | None = None) -> None:
    """Copy the files of a diffusers folder that are read, byte for byte; the index, unless it stays as it is, anew.

    Args:
        source: the folder.
        target: is made if it is missing.
        without: a part that the caller writes.

    Raises:
        LayoutError: the source lacks weights.
    """
    for name in copied_files(source):
        if without is None or not name.startswith(f"{without}/"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target / name)
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
