"""The lists for readers beside a corpus: the files that were refused, and those that repeat another, by their names."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from stages.common.parquet import read_table
from stages.core.files import written_aside
from stages.core.shards import shard_notes
from stages.corpus.corpus import Corpus
from stages.corpus.duplicates import COLUMNS, duplicates_path

REFUSED, REPEATS = "refused.csv", "duplicates.csv"  # below the corpus
LISTED = 10_000  # duplicates, the first ones; the table beside the shards has all


def write_refused(folder: Path) -> None:
    """Write ``folder/refused.csv`` with a line for each sample that was refused, in the order of the shards.

    Raises:
        InputError: the record of a shard is damaged.
    """
    _write(folder / REFUSED, ("origin", "reason"), shard_notes(folder))


def write_repeats(folder: Path, shards: Sequence[str]) -> None:
    """Write ``folder/duplicates.csv`` with a line for each of the first LISTED duplicates of a corpus.

    Args:
        folder: the corpus, with its table of duplicates.
        shards: the names of its shards, in order.

    Raises:
        InputError: an index or a part of the table is missing or damaged.
    """
    _write(folder / REPEATS, ("origin", "duplicate_of", "reason"), islice(_repeats(folder, shards), LISTED))


def _repeats(folder: Path, shards: Sequence[str]) -> Iterator[dict[str, str]]:
    corpus = Corpus(folder)
    for shard in shards:
        found = read_table(duplicates_path(folder, shard), COLUMNS)[:LISTED]
        pictures = corpus.rows_of([row["key"] for row in found])
        repeated = corpus.rows_of([row["duplicate_of"] for row in found])
        for row, picture, other in zip(found, pictures, repeated, strict=True):
            yield {"origin": picture.origin["name"], "duplicate_of": other.origin["name"], "reason": row["reason"]}


def _write(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    with written_aside(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
