"""Arrays in safetensors files, mapped into memory: rows come from the disk when they are used, and the system may drop them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from stages.core.errors import InputError

OPEN_FILES = 4096  # mapped at a time in each process; the system allows some 65,000

_TYPES = {"F16": "<f2", "F32": "<f4", "I64": "<i8", "U8": "|u1"}


def map_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a safetensors file, read-only.

    Raises:
        InputError: the file is missing or damaged.
    """
    with _reading(path):
        facts = path.stat()
        return _map(path, (facts.st_mtime_ns, facts.st_size, facts.st_ino))


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a safetensors file, read whole: for what is used once.

    Raises:
        InputError: the file is missing or damaged.
    """
    with _reading(path):
        return load_file(path)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, TypeError, AttributeError, LookupError, SafetensorError) as error:
        raise InputError(f"{path}: missing or damaged; run the stage that writes it") from error


@lru_cache(maxsize=OPEN_FILES)
def _map(path: Path, version: tuple[int, int, int]) -> dict[str, NDArray[Any]]:  # noqa: ARG001
    """Map a file. ``version`` changes when the file is replaced. The layout: a length, a header in JSON, the data."""
    whole = np.memmap(path, np.uint8, "r").view(np.ndarray)
    start = 8 + int.from_bytes(whole[:8].tobytes(), "little")
    header = json.loads(whole[8:start].tobytes())
    return {
        name: whole[start:][slice(*entry["data_offsets"])].view(_TYPES[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__"
    }
