"""The corpus: the rows of its shards without duplicates, and any picture by its key, one read and one decode away.

A :class:`Corpus` holds the folder's path only, so it travels to worker processes; what it has read is cached in each.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache, partial
from itertools import groupby
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
from stages.corpus.shard import INDEX_COLUMNS, PLACE_DIGITS, picture_digest, shard_of

AHEAD = 64  # pictures decoded before they are asked for
INDEXES, TARS = 8, 256  # that each process keeps open; a row of an index takes some 300 bytes

Version = tuple[int, int, int]  # of a file: it changes when the file is replaced


@dataclass(frozen=True, kw_only=True)
class Location:
    """Where a picture lies: all that is needed to read it."""

    key: str  # names its shard
    offset: int  # of the picture's first byte in the tar
    length: int  # of the picture, bytes
    width: int  # pixels
    height: int
    pixels: str  # digest, see :func:`stages.corpus.shard.picture_digest`: equal digests mean equal pictures


@dataclass(frozen=True, kw_only=True)
class CorpusRow(Location):
    """What the index knows of a picture."""

    alt_text: str
    facts: str  # ``origin`` as JSON

    @property
    def origin(self) -> dict[str, Any]:
        """``name`` in the source, and what else the source records."""
        origin: dict[str, Any] = json.loads(self.facts)
        return origin


COLUMN_OF = {field.name: field.name for field in fields(CorpusRow)} | {"facts": "origin"}
"""Field of a row → column of the index."""


@dataclass(frozen=True, kw_only=True)
class _Index:
    """The index of one shard, without a Python object for each row."""

    columns: Mapping[str, pa.Array]  # field of a row → its values
    places: NDArray[np.int64]  # (n,): the digits at the end of the keys, rising

    def row(self, place: int) -> CorpusRow:
        """Return the row at a place among the n."""
        return CorpusRow(**{name: column[place].as_py() for name, column in self.columns.items()})

    def find(self, key: str) -> CorpusRow | None:
        """Return the row of a key, or None if the shard does not have it."""
        place = int(np.searchsorted(self.places, int(key[-PLACE_DIGITS:])))
        is_found = place < len(self.places) and self.columns["key"][place].as_py() == key
        return self.row(place) if is_found else None


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
        index = self._index(shard)
        rows = map(index.row, range(len(index.places)))
        return [row for row in rows if row.key not in left_out]

    def row(self, key: str) -> CorpusRow:
        """Return the row of a picture."""
        return self.rows_of([key])[0]

    def rows_of(self, keys: Sequence[str]) -> list[CorpusRow]:
        """Return the rows of pictures of any shards; the index of each shard is read whole, once."""
        found: dict[str, CorpusRow] = {}
        for shard, group in groupby(sorted(set(keys), key=shard_of), shard_of):
            has_index = SAFE_NAME.fullmatch(shard) and self._index_path(shard).is_file()
            index = self._index(shard) if has_index else None
            for key in group:
                row = index.find(key) if index is not None and key[-PLACE_DIGITS:].isdecimal() else None
                if row is None:
                    raise _unknown(key)
                found[key] = row
        return [found[key] for key in keys]

    def image(self, key: str) -> Image.Image:
        """Return the RGB picture of ``key``."""
        return self.picture_of(self.row(key))

    def picture(self, location: Location) -> Image.Image:
        """Return the RGB picture at a location that was found at any time; no index is read.

        Raises:
            InputError: no picture lies there, or another one, because the corpus has changed since.
        """
        return self._read(location, _decode_checked)

    def picture_of(self, row: CorpusRow) -> Image.Image:
        """Return the RGB picture of a row that was just read; index and tar are written together, so nothing is compared."""
        return self._read(row, _decode)

    def _read(self, location: Location, decode: Callable[[bytes, Location], Image.Image]) -> Image.Image:
        shard = shard_of(location.key)
        if not SAFE_NAME.fullmatch(shard):
            raise _unknown(location.key)
        path = self._tar(shard)
        try:
            tar = _open_tar(path, _version_of(path))
            data = os.pread(tar.fileno(), min(location.length, MAX_BYTES), location.offset)
            return decode(data, location)
        except (Refused, OSError, ValueError) as error:
            sample = f"{path}: sample {printable(location.key)}"
            raise InputError(f"{sample}: {printable(error)}; run the stages from ingest on") from error

    def images(self, shard: str) -> Iterator[tuple[CorpusRow, Image.Image]]:
        """Yield rows with their pictures in order, duplicates left out; a thread decodes ahead."""
        rows = self.rows(shard)
        yield from zip(rows, call_ahead((partial(self.picture_of, row) for row in rows), AHEAD), strict=True)

    def _tar(self, shard: str) -> Path:
        return self.folder / f"{shard}.tar"

    def _index_path(self, shard: str) -> Path:
        return self.folder / f"{shard}.parquet"

    def _index(self, shard: str) -> _Index:
        path = self._index_path(shard)
        return _read_index(path, _version_of(path))


def _unknown(key: str) -> InputError:
    return InputError(f"the corpus has no image {printable(key)!r}; run the stages from ingest on")


def _decode(data: bytes, location: Location) -> Image.Image:
    """Return the picture whose file is ``data``."""
    return decode_stored(data, (location.width, location.height))


def _decode_checked(data: bytes, location: Location) -> Image.Image:
    """Return the picture whose file ``data`` should be.

    Raises:
        Refused: it is not.
    """
    picture = _decode(data, location)
    if picture_digest(picture, data) != location.pixels:
        raise Refused("another picture lies in its place")
    return picture


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
    keys = table["key"].to_pylist()
    if not all(key[-PLACE_DIGITS:].isdecimal() for key in keys):
        raise InputError(f"{path}: damaged: a key does not end in {PLACE_DIGITS} digits; run the stage ingest")
    places = np.array([int(key[-PLACE_DIGITS:]) for key in keys], np.int64)
    spans = np.column_stack([table["offset"].to_numpy(), table["length"].to_numpy()])
    if (np.diff(places) <= 0).any() or (spans < 0).any():
        raise InputError(f"{path}: damaged: keys out of order, or a negative offset; run the stage ingest")
    return _Index(columns={field: table[column].combine_chunks() for field, column in COLUMN_OF.items()}, places=places)
