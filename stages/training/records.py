"""Files of fixed-size records that are found by a digest and read from the disk one at a time.

A file is a NumPy array of structures in fp16, sorted by digest, and is read through a memory map. It is written record by
record, so neither reading nor writing holds it in memory.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from stages.core.earlier import Hashes, hashes_of

if TYPE_CHECKING:
    from torch import Tensor

DIGEST = "S64"  # a SHA-256 in hexadecimal

VALUE = "value"  # the name of the only value of a record
Records = NDArray[Any]
Values = Mapping[str, "Tensor"]
"""The values of n records by name, (n, *shape) each."""
Encode = Callable[[Sequence[str]], Iterable[Values]]
"""Takes digests, and returns the values of their records in order, batch by batch."""


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


def values_of(record: Any) -> dict[str, NDArray[np.float16]]:
    """Return the values of a record by name."""
    return {name: record[name] for name in record.dtype.names if name != "digest"}


def write_records(
    path: Path, digests: Sequence[str], shapes: Mapping[str, tuple[int, ...]], earlier: Iterable[Path], encode: Encode
) -> set[str]:
    """Write a record for every digest, and return those that were encoded; what earlier files have is copied.

    Args:
        path: the file.
        digests: sorted, without repetitions.
        shapes: the shapes of a record's values, by name.
        earlier: earlier files, with values of the same shapes.
        encode: makes the values that no earlier file has.
    """
    dtype = np.dtype([("digest", DIGEST), *((name, "<f2", shape) for name, shape in shapes.items())])
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
        rows = missing[done : done + len(next(iter(values.values())))]
        for name, value in values.items():
            records[name][rows] = value.cpu().numpy()
        done += len(rows)
    records.flush()
    return set(encoded)
