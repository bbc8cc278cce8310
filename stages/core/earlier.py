"""What earlier runs of a stage made, found by its content whatever shard it stood in.

While a stage works, the earlier shards that it replaces or drops lie aside in a folder of their own, so that each stays as it
was until all new ones are whole. A table beside them says which shards hold a content, by 64 bits of its digest. Who reads a
shard compares the whole digest: two contents of equal bits cost one of them its reuse, and never a wrong byte.

Memory is flat and time linear: the table is sorted in buckets on disk, and read through a memory map.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.core.buckets import MOST, Buckets
from stages.core.files import aside_of, remove, writing
from stages.core.sidecars import SIDECAR_SUFFIX

FOLDER = "earlier"  # below the folder of a stage's shards; a stage that is done leaves none
TABLE, HASHES, NUMBERS, SHARDS = "table", "hashes", "numbers", "shards.npy"
PLACES = 8  # shards that the table names for one content: a text may stand in all of them
MARK = "~"  # between a shard's name and its fingerprint in the name that it has aside

Hashes = NDArray[np.uint64]
"""The first eight bytes of digests."""

Contents = Callable[[tuple[Path, ...]], Hashes]
"""Takes the outputs of a whole shard, and returns the hashes of all contents that it holds, in any order."""


def hashes_of(digests: Sequence[str]) -> Hashes:
    """Return the hashes, (n,), of digests in hexadecimal."""
    return np.array([int(digest[:16], 16) for digest in digests], np.uint64)


def hashes_of_texts(texts: Iterable[str]) -> Hashes:
    """Return the hashes, (n,), of the SHA-256 digests of texts."""
    return hashes_of([hashlib.sha256(text.encode()).hexdigest() for text in texts])


@dataclass(frozen=True)
class Earlier:
    """The earlier shards of a stage. It holds a path only, so it travels to worker processes."""

    table: Path | None = None  # None: there are no such shards

    def holding(self, contents: Hashes) -> Iterator[tuple[Path, ...]]:
        """Yield the outputs of shards that together hold what is known of some contents, those that hold most first.

        Args:
            contents: the hashes of the contents, (n,).
        """
        if self.table is None or not len(contents):
            return
        hashes, numbers = (np.memmap(self.table / name, np.uint64, "r") for name in (HASHES, NUMBERS))
        wanted = np.unique(contents)
        starts, ends = (np.searchsorted(hashes, wanted, side)[:, None] for side in ("left", "right"))
        places = starts + np.arange(PLACES)
        is_place = places < ends
        items, holders = np.nonzero(is_place)[0], numbers[places[is_place]]
        shards, counts = np.unique(holders, return_counts=True)
        groups = np.split(items[np.argsort(holders, kind="stable")], np.cumsum(counts)[:-1])
        outputs, missing = np.load(self.table / SHARDS, mmap_mode="r"), np.ones(len(wanted), bool)
        for group in np.argsort(-counts, kind="stable").tolist():
            if missing[groups[group]].any():
                missing[groups[group]] = False
                yield tuple(Path(os.fsdecode(path)) for path in outputs[shards[group]])


NO_SHARDS = Earlier()


def write_table(table: Path, shards: Sequence[tuple[Path, ...]], contents: Contents) -> Earlier:
    """Write the table of some shards, each given by its outputs, into a new folder ``table``.

    Raises:
        NoRoomError: the disk or a quota is full.
    """
    remove(table)
    with writing(table):
        table.mkdir(parents=True)
        buckets = Buckets(table / "buckets", max(1, min(MOST, len(shards))), width=2)
        for number, outputs in enumerate(shards):
            hashes = np.unique(contents(outputs))
            buckets.add(buckets.of_hashes(hashes), np.column_stack([hashes, np.full_like(hashes, number)]))
        with (table / HASHES).open("wb") as hashes_file, (table / NUMBERS).open("wb") as numbers_file:
            for bucket in range(buckets.count):  # whose hashes rise from one to the next
                records = buckets.read(bucket)
                records = records[np.lexsort(records.T[::-1])]
                records = np.delete(records, np.flatnonzero(records[PLACES:, 0] == records[:-PLACES, 0]) + PLACES, axis=0)
                hashes_file.write(records[:, 0].tobytes())
                numbers_file.write(records[:, 1].tobytes())
        remove(table / "buckets")
        np.save(table / SHARDS, np.array([list(map(os.fsencode, outputs)) for outputs in shards]))
    return Earlier(table if (table / HASHES).stat().st_size else None)


def set_aside(sidecar: Path, outputs: Sequence[Path], fingerprint: str) -> list[Path]:
    """Move a whole shard aside, and return the new paths of its outputs.

    The sidecar comes last: a shard that lies aside without it is not whole.
    """
    aside = sidecar.parent / FOLDER
    aside.mkdir(exist_ok=True)
    name = sidecar.name.removesuffix(SIDECAR_SUFFIX)
    moved = [aside / f"{name}{MARK}{fingerprint}{path.name.removeprefix(name)}" for path in (*outputs, sidecar)]
    for path, to in zip((*outputs, sidecar), moved, strict=True):
        path.replace(to)
    return moved[:-1]


def put_back(folder: Path, suffixes: tuple[str, ...]) -> None:
    """Move back what a run that was killed in :func:`set_aside` has moved; the rest of that shard is still in its place."""
    for suffix in suffixes:
        for path in (folder / FOLDER).glob(f"*{MARK}*{suffix}"):
            stem = path.name.removesuffix(suffix)
            if not path.with_name(f"{stem}{SIDECAR_SUFFIX}").exists():
                path.replace(folder / f"{stem.rpartition(MARK)[0]}{suffix}")


def drop(folder: Path) -> None:
    """Remove the shards that lie aside, all or, after a kill, none of them."""
    aside = folder / FOLDER
    if aside.exists():
        remove(aside.rename(aside_of(aside)))
