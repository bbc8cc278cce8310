"""Duplicates in the corpus: found when all shards are whole, in the order of their keys, whoever made them and when.

Of pictures with the same pixels the first is kept. A picture that looks like one before it is a near duplicate: their
perceptual hashes differ in at most ``ingest.near_duplicates`` bits. Both stand in one table, a part for each shard, so
that a later stage's shard depends on its own part only.

The digests are divided by their first bits into buckets on disk, which are read one after another: memory grows by a tenth
of a byte an image, and exact duplicates take linear time. Near duplicates do not: two hashes that differ in at most k of
64 bits agree in at least one of k + 1 bands, so only hashes that share a band are compared, each once however many
pictures have it; with n of them that is n² / 2^(64 / (k + 1)) comparisons.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from stages.common.parquet import read_columns, read_table, write_table
from stages.core.buckets import MOST, Buckets
from stages.core.errors import InputError
from stages.core.files import remove, written_aside
from stages.corpus.shard import MAX_SAMPLES, PLACE_DIGITS, key_of

FOLDER = "duplicates"  # below the corpus
COLUMNS = {"key": "string", "duplicate_of": "string", "reason": "string"}
INDEX_OF_DUPLICATES = {"key": "string", "pixels": "string", "perceptual_hash": "uint64"}
REASONS = ("duplicate", "near duplicate")  # a picture that is both is the first
HASH_BITS = 64
BLOCK = 512  # hashes compared with as many at a time

Numbers = NDArray[np.uint64]
"""Pictures are numbered ``shard * MAX_SAMPLES + place``, which sorts as their keys do."""


def duplicates_path(corpus: Path, shard: str) -> Path:
    """Return the path of a shard's part of the table."""
    return corpus / FOLDER / f"{shard}.parquet"


def read_duplicates(corpus: Path, shard: str) -> dict[str, str]:
    """Return the duplicates in a shard, as key → key of the picture that is kept or that they look like.

    Raises:
        InputError: the part is missing or damaged.
    """
    path = duplicates_path(corpus, shard)
    if not path.is_file():
        raise InputError(f"{path}: no such file; run the stage ingest to its end")
    return {row["key"]: row["duplicate_of"] for row in read_table(path, COLUMNS)}


def write_duplicates(corpus: Path, shards: Sequence[str], near: int | None) -> Counter[str]:
    """Find the duplicates among the pictures of ``shards``, write the table, and return their numbers by reason.

    Args:
        corpus: the folder of the shards.
        shards: the names of all shards, sorted.
        near: the largest distance of near duplicates in bits; None to look for equal pixels only.

    Raises:
        InputError: an index is missing or damaged.
    """
    counts: Counter[str] = Counter()
    count = min(MOST, len(shards))
    with TemporaryDirectory() as scratch:
        found = Buckets(Path(scratch, "found"), count, width=3)
        for reason, pairs in _find(corpus, shards, near, Path(scratch)):
            of_shard = pairs[:, 0].astype(np.int64) // MAX_SAMPLES
            found.add(found.of_runs(of_shard, len(shards)), np.insert(pairs, 1, reason, axis=1))
        for bucket in range(count):
            _write_parts(corpus, shards, found.run(bucket, len(shards)), found.read(bucket), counts)
    _remove_strangers(corpus, shards)
    return counts


def _find(corpus: Path, shards: Sequence[str], near: int | None, scratch: Path) -> Iterator[tuple[int, Numbers]]:
    """Yield (place in REASONS, pairs) with pairs (n, 2): a picture's number and that of an earlier one that it equals."""
    count = min(MOST, len(shards))
    exact = Buckets(scratch / "exact", count, width=3)
    bands = [] if near is None else [Buckets(scratch / f"band{band}", count, width=3) for band in range(near + 1)]
    for shard, name in enumerate(shards):
        table = read_columns(corpus / f"{name}.parquet", INDEX_OF_DUPLICATES)
        places = [int(key[-PLACE_DIGITS:]) for key in table["key"].to_pylist()]
        numbers = np.array(places, np.uint64) + np.uint64(shard * MAX_SAMPLES)
        digests = np.frombuffer(bytes.fromhex("".join(table["pixels"].to_pylist())), ">u8").astype(np.uint64).reshape(-1, 4)
        exact.add(exact.of_hashes(digests[:, 0]), np.column_stack([digests[:, :2], numbers]))  # 128 bits never collide
        hashes = table["perceptual_hash"].to_numpy().astype(np.uint64)
        for band, buckets in enumerate(bands):
            values = _band(hashes, band, len(bands))
            buckets.add(buckets.of_hashes(_mix(values)), np.column_stack([values, hashes, numbers]))
    for bucket in range(count):
        yield 0, _equal(exact.read(bucket))
        for buckets in bands:
            yield 1, _alike(buckets.read(bucket), len(bands) - 1)


def _equal(records: Numbers) -> Numbers:
    """Return pairs of each picture but the first of its kind, and that first; ``records`` are (n, 3): digest, number."""
    records = records[np.lexsort(records.T[::-1])]
    is_first = np.ones(len(records), bool)
    is_first[1:] = (records[1:, :2] != records[:-1, :2]).any(axis=1)
    first = np.maximum.accumulate(np.where(is_first, np.arange(len(records)), 0))
    return np.column_stack([records[:, 2], records[first, 2]])[~is_first]


def _alike(records: Numbers, near: int) -> Numbers:
    """Return pairs of each picture and the earliest that differs in at most ``near`` bits; (n, 3): band, hash, number."""
    if not len(records):
        return np.empty((0, 2), np.uint64)
    records = records[np.lexsort((records[:, 2], records[:, 0]))]
    starts = np.flatnonzero(np.diff(records[:, 0], prepend=~records[:1, 0]))
    ends = np.append(starts[1:], len(records))
    pairs = [np.empty((0, 2), np.uint64)]
    for start, end in zip(starts, ends, strict=True):
        if end - start > 1:
            pairs.append(_alike_in_band(records[start:end, 1], records[start:end, 2], near))
    return np.concatenate(pairs)


def _alike_in_band(hashes: Numbers, numbers: Numbers, near: int) -> Numbers:
    """Return pairs among pictures that share a band; ``numbers`` rise."""
    _, firsts, kinds = np.unique(hashes, return_index=True, return_inverse=True)  # sorted by hash
    order = np.argsort(firsts)  # the hash that was seen first comes first
    earliest = _earliest_alike(hashes[firsts[order]], near)
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order))
    alike = numbers[firsts[order[earliest[ranks[kinds]]]]]
    return np.column_stack([numbers, alike])[alike < numbers]


def _earliest_alike(hashes: Numbers, near: int) -> NDArray[np.int64]:
    """Return for each of some distinct hashes (n,) the place of the first that differs in at most ``near`` bits, or its own."""
    earliest = np.arange(len(hashes))
    for row in range(0, len(hashes), BLOCK):
        rows = slice(row, row + BLOCK)
        for column in range(0, row + 1, BLOCK):
            close = np.bitwise_count(hashes[rows, None] ^ hashes[None, column : column + BLOCK]) <= near
            found = np.where(close.any(axis=1), column + close.argmax(axis=1), len(hashes))
            earliest[rows] = np.minimum(earliest[rows], found)
    return earliest


def _band(hashes: Numbers, band: int, bands: int) -> Numbers:
    """Return the bits of one band; bits of all frequencies are dealt out in turn, so that no band is poor in variety."""
    mask = sum(1 << bit for bit in range(band, HASH_BITS, bands))
    return hashes & np.uint64(mask)


def _mix(values: Numbers) -> Numbers:
    """Spread values over all of 64 bits, as hashes are."""
    return values * np.uint64(0x9E3779B97F4A7C15)  # 2**64 by the golden ratio (Knuth)


def _write_parts(corpus: Path, shards: Sequence[str], numbers: Iterable[int], records: Numbers, counts: Counter[str]) -> None:
    """Write the parts of the shards ``numbers``; ``records`` are (n, 3): picture, place in REASONS, earlier picture."""
    records = records[np.lexsort(records.T[::-1])]  # the best reason first, then the earliest picture
    records = records[np.diff(records[:, 0], prepend=~records[:1, 0]) != 0]
    for number in numbers:
        ends = np.searchsorted(records[:, 0], np.array([number, number + 1], np.uint64) * np.uint64(MAX_SAMPLES))
        rows = [
            {"key": _key(shards, picture), "duplicate_of": _key(shards, earlier), "reason": REASONS[reason]}
            for picture, reason, earlier in records[slice(*ends)].tolist()
        ]
        counts.update(row["reason"] for row in rows)
        _write_part(duplicates_path(corpus, shards[number]), rows)


def _write_part(path: Path, rows: list[dict[str, str]]) -> None:
    """Write a part, unless it is there already, so that its time changes only when its rows do."""
    try:
        if path.is_file() and read_table(path, COLUMNS) == rows:
            return
    except InputError:
        pass  # damaged, so it is written again
    path.parent.mkdir(exist_ok=True)
    with written_aside(path) as temporary:
        write_table(temporary, rows, COLUMNS)


def _key(shards: Sequence[str], number: int) -> str:
    shard, place = divmod(number, MAX_SAMPLES)
    return key_of(shards[shard], place)


def _remove_strangers(corpus: Path, shards: Sequence[str]) -> None:
    """Remove the parts of shards that are gone, and what an interrupted run has left."""
    kept = {f"{name}.parquet" for name in shards}
    for path in (corpus / FOLDER).iterdir():
        if path.name not in kept:
            remove(path)
