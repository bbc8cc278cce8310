"""Files of fixed-size records that are found by a digest and read from the disk one at a time.

A file is a NumPy array of structures in fp16, sorted by digest, and is read through a memory map. It is written record by
record, so neither reading nor writing holds it in memory.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from stages.core.earlier import Hashes, hashes_of

if TYPE_CHECKING:
    from torch import Tensor

DIGEST = "S64"  # a SHA-256 in hexadecimal

Records = NDArray[Any]
Encode = Callable[[Sequence[str]], Iterable["Tensor"]]
"""Takes digests, and returns the values of their records in order, batch by batch: (n, *shape)."""


def text_digest(text: str) -> str:
    """Return the SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def open_records(path: Path) -> Records:
    """Return the records of a file, (n,), which are read when they are asked for."""
    records: Records = np.load(path, mmap_mode="r")  # refuses pickled objects
    return records


def hashes_of_records(path: Path) -> Hashes:
    """Return the hashes, (n,), of the digests of a file's records."""
    return hashes_of(open_records(path)["digest"].astype(str).tolist())


def find_records(records: Records, digests: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the place of every digest among the records, (n,), and whether it is there, (n,)."""
    known, wanted = records["digest"], np.array(digests, DIGEST)
    places = np.searchsorted(known, wanted)
    found = places < len(known)
    found[found] = known[places[found]] == wanted[found]
    return places, found


def write_records(
    path: Path, digests: Sequence[str], shape: tuple[int, ...], earlier: Iterable[Path], encode: Encode
) -> set[str]:
    """Write a record for every digest, and return those that were encoded; what earlier files have is copied.

    Args:
        path: the file.
        digests: sorted, without repetitions.
        shape: the shape of a value.
        earlier: earlier files, with values of the same shape.
        encode: makes the values that no earlier file has.
    """
    dtype = np.dtype([("digest", DIGEST), ("value", "<f2", shape)])
    records = open_memmap(path, mode="w+", dtype=dtype, shape=(len(digests),))
    records["digest"] = digests
    is_missing = np.ones(len(digests), bool)
    for known in map(open_records, earlier):
        places, found = find_records(known, digests)
        for row in np.flatnonzero(found & is_missing):
            records[row] = known[places[row]]
        is_missing &= ~found
    missing = np.flatnonzero(is_missing)
    encoded, done = [digests[row] for row in missing.tolist()], 0
    for values in encode(encoded):
        records["value"][missing[done : done + len(values)]] = values.cpu().numpy()
        done += len(values)
    records.flush()
    return set(encoded)
