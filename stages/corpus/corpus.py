"""The corpus: the rows of its shards without duplicates, and any picture by its key, one read and one decode away.

A :class:`Corpus` holds the folder's path only, so it travels to worker processes; what it has read is cached in each.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from stages.common.ahead import call_ahead
from stages.common.parquet import read_columns
from stages.core.errors import InputError
from stages.core.paths import CORPUS
from stages.core.shards import list_shards
from stages.corpus.duplicates import duplicates_path, read_duplicates
from stages.corpus.images import Refused, decode_stored
from stages.corpus.parts import MAX_BYTES, SAFE_NAME, printable
from stages.corpus.shard import INDEX_COLUMNS, PLACE_DIGITS, shard_of

AHEAD = 64  # pictures decoded before they are asked for
INDEXES, TARS = 32, 64  # kept open in each process

Version = tuple[int, int, int]  # of a file: it changes when the file is replaced


@dataclass(frozen=True, kw_only=True)
class CorpusRow:
    """What the index knows of a picture."""

    key: str
    pixels: str  # digest of the pixels, in hex: equal digests mean equal pictures
    alt_text: str
    origin: dict[str, Any]  # ``name`` in the source, and what else the source records
    width: int  # pixels
    height: int


@dataclass(frozen=True, kw_only=True)
class _Index:
    """The index of one shard, without a Python object for each row."""

    table: pa.Table
    places: NDArray[np.int64]  # (n,): the digits at the end of the keys, rising
    spans: NDArray[np.int64]  # (n, 2): offset and length of the pictures in the tar


class Corpus:
    """Reads the corpus that the stage ingest has written.

    All methods raise InputError if the corpus, or what they look for in it, is missing or damaged.
    """

    def __init__(self, folder: Path = CORPUS) -> None:
        self.folder = folder

    def shards(self) -> list[str]:
        """Return the names of the whole shards, sorted."""
        return [path.stem for path in list_shards(self.folder, ".tar")]

    def inputs(self, shard: str) -> tuple[Path, ...]:
        """Return the files that decide what is read of a shard: its tar, its index, and its duplicates."""
        return self._tar(shard), self._index_path(shard), duplicates_path(self.folder, shard)

    def rows(self, shard: str) -> list[CorpusRow]:
        """Return the rows of a shard in order, duplicates left out."""
        left_out = read_duplicates(self.folder, shard)
        table = self._index(shard).table
        return [_row(record) for record in table.to_pylist() if record["key"] not in left_out]

    def row(self, key: str) -> CorpusRow:
        """Return the row of a picture."""
        index, place = self._find(key)
        return _row(index.table.slice(place, 1).to_pylist()[0])

    def image(self, key: str) -> Image.Image:
        """Return the RGB picture of ``key``."""
        index, place = self._find(key)
        offset, length = (int(value) for value in index.spans[place])
        size = tuple(index.table[side][place].as_py() for side in ("width", "height"))
        path = self._tar(shard_of(key))
        try:
            data = os.pread(_open_tar(path, _version_of(path)).fileno(), min(length, MAX_BYTES), offset)
            return decode_stored(data, size)
        except (Refused, OSError, ValueError) as error:
            raise InputError(f"{path}: sample {printable(key)}: {printable(error)}; run the stage ingest") from error

    def images(self, shard: str) -> Iterator[tuple[CorpusRow, Image.Image]]:
        """Yield rows with their pictures in order, duplicates left out; a thread decodes ahead."""
        rows = self.rows(shard)
        yield from zip(rows, self.read_ahead([row.key for row in rows]), strict=True)

    def read_ahead(self, keys: Iterable[str]) -> Iterator[Image.Image]:
        """Yield the pictures of ``keys`` in order; a thread decodes ahead."""
        return call_ahead((partial(self.image, key) for key in keys), AHEAD)

    def _tar(self, shard: str) -> Path:
        return self.folder / f"{shard}.tar"

    def _index_path(self, shard: str) -> Path:
        return self.folder / f"{shard}.parquet"

    def _index(self, shard: str) -> _Index:
        path = self._index_path(shard)
        return _read_index(path, _version_of(path))

    def _find(self, key: str) -> tuple[_Index, int]:
        """Return the index that holds ``key``, and its row there."""
        shard, digits = shard_of(key), key[-PLACE_DIGITS:]
        if SAFE_NAME.fullmatch(shard) and digits.isdecimal() and self._index_path(shard).is_file():
            index = self._index(shard)
            row = int(np.searchsorted(index.places, int(digits)))
            if row < len(index.places) and index.table["key"][row].as_py() == key:
                return index, row
        raise InputError(f"the corpus has no image {printable(key)!r}; run the stages from ingest on")


def _version_of(path: Path) -> Version:
    try:
        facts = path.stat()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; run the stage ingest") from error
    return facts.st_mtime_ns, facts.st_size, facts.st_ino


@lru_cache(maxsize=TARS)
def _open_tar(path: Path, _version: Version) -> IO[bytes]:
    """Return an open file; it is closed when the cache has dropped it and nobody reads it any more."""
    return path.open("rb")


@lru_cache(maxsize=INDEXES)
def _read_index(path: Path, _version: Version) -> _Index:
    table = read_columns(path, INDEX_COLUMNS)
    digits = [key[-PLACE_DIGITS:] for key in table["key"].to_pylist()]
    spans = np.column_stack([table["offset"].to_numpy(), table["length"].to_numpy()])
    if not all(digit.isdecimal() for digit in digits):
        raise InputError(f"{path}: damaged: a key does not end in {PLACE_DIGITS} digits; run the stage ingest")
    places = np.array([int(digit) for digit in digits], np.int64)
    if (np.diff(places) <= 0).any() or (spans < 0).any():
        raise InputError(f"{path}: damaged: keys out of order, or a negative offset; run the stage ingest")
    return _Index(table=table, places=places, spans=spans)


def _row(record: dict[str, Any]) -> CorpusRow:
    return CorpusRow(
        key=record["key"],
        pixels=record["pixels"],
        alt_text=record["alt_text"],
        origin=json.loads(record["origin"]),
        width=record["width"],
        height=record["height"],
    )
