"""The files of a benchmark's folder. What stands in them, the names of other files above all, is untrusted."""

import csv
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from stages.benchmarks.case import Read
from stages.common.text import one_line
from stages.core.errors import InputError
from stages.corpus.parts import MAX_BYTES, printable
from stages.editing.colours import as_seen
from stages.editing.pictures import read_mask, read_picture
from stages.editing.request import binary_mask


def inside(folder: Path, name: object, where: str, below: str = "") -> Path:
    """Return the file ``name`` in a benchmark's folder.

    Args:
        folder: of the benchmark, which no name may leave.
        name: as a file of the benchmark gives it.
        where: what gives it, for messages.
        below: the folder in ``folder`` that the name is relative to.

    Raises:
        InputError: it is no text, leads out of the folder (through links too), or there is no such file.
    """
    shown = f"{where}: {printable(name)}"
    if not isinstance(name, str) or not name:
        raise InputError(f"{where}: must be the name of a file, found {printable(repr(name))}")
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts:
        raise InputError(f"{shown}: leads out of the folder {folder}")
    try:
        path = (folder / below / pure).resolve(strict=True)
    except (OSError, ValueError, RuntimeError) as error:  # missing; name too long or invalid; circular links
        raise InputError(f"{shown}: no such file in {folder}") from error
    if not path.is_relative_to(folder.resolve()):
        raise InputError(f"{shown}: leads out of the folder {folder}")
    if not path.is_file():
        raise InputError(f"{shown}: not a file")
    return path


def picture(path: Path) -> Read:
    """Return a reader of the picture in a file, as RGB; it raises InputError if that cannot be read."""
    return partial(_read_rgb, path)


def mask_like(path: Path, source: Read) -> Read:
    """Return a reader of the mask in a file, white where the picture may change.

    It raises InputError if sizes differ, or the mask is black everywhere or not in black and white.
    """
    return partial(_read_mask, path, source)


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        InputError: the file is missing, too large, or holds none.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: larger than {MAX_BYTES:,} bytes")
        found = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: must hold one JSON object")
    return found


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file by column.

    Raises:
        InputError: the file is missing, too large, or no CSV in UTF-8.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: larger than {MAX_BYTES:,} bytes")
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [{str(name): str(value) for name, value in row.items()} for row in csv.DictReader(file, restval="")]
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not CSV in UTF-8") from error


def text(record: Mapping[str, Any], name: str, where: str) -> str:
    """Return a text of a record as one line.

    Raises:
        InputError: the record lacks it, or it is blank or no text.
    """
    found = one_line(record.get(name))
    if not found:
        raise InputError(f"{where}: {name} must be a text that is not blank")
    return found


def _read_rgb(path: Path) -> Image.Image:
    return as_seen(read_picture(path))


def _read_mask(path: Path, source: Read) -> Image.Image:
    mask, size = read_mask(path), source().size
    if mask.size != size:
        raise InputError(f"mask {path.name}: has {mask.size} pixels, its picture {size}")
    try:
        region = binary_mask(mask)
    except InputError as error:
        raise InputError(f"mask {path.name}: {error}") from error
    if not region.getbbox():
        raise InputError(f"mask {path.name}: is black everywhere; it must be white where the picture may change")
    return region
