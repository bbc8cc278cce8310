"""Parquet files with the pictures in them, as Hugging Face's datasets writes them: a column of structs {bytes, path}."""

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from stages.common.parquet import read_rows, read_schema
from stages.core.errors import InputError
from stages.core.params_ingest import FolderSource
from stages.corpus.images import Refused
from stages.corpus.metadata import TEXT_COLUMNS
from stages.corpus.parts import FACTS, MAX_BYTES, Part, RawSample, facts_of, printable, shard_name, text_of

PICTURES_AT_ONCE = 8  # in memory


@dataclass(frozen=True, kw_only=True)
class _Table:
    """A Parquet file, and which of its columns say what."""

    path: Path
    name: str  # below the source's folder
    picture: str
    columns: dict[str, str]  # column to read, besides the picture → its name in lower case
    texts: tuple[str, ...]  # columns of captions in lower case, the first that says something counts
    filtered: AbstractSet[str]


def image_table_parts(
    root: Path, names: Iterable[str], source: FolderSource, shard_size: int, filtered: AbstractSet[str]
) -> list[Part]:
    """Return the parts of Parquet files: runs of ``shard_size`` rows.

    A file is one input of all its parts; a data set that grows does so by files.

    Args:
        root: the folder of the source.
        names: the files, below it.
        source: the source, which may name the column of the captions.
        shard_size: the most rows in a part.
        filtered: the columns that filters look at, in lower case.

    Raises:
        InputError: a file lies outside the folder, is not Parquet, or has no column of pictures, or not that of the captions.
    """
    parts = []
    for name in names:
        table, rows = _open(root, name, source, filtered)
        for start in range(0, rows, shard_size):
            stop = min(start + shard_size, rows)
            part = Part(
                shard=shard_name(f"{name.rpartition('.')[0]}-{start // shard_size:05d}"),
                name=f"{source.path} {printable(name)}, rows {start + 1} to {stop}",
                samples=stop - start,
                read=partial(_read, table, start, stop),
                inputs=(table.path,),
                settings={"rows": [start, stop], "texts": table.texts, "filtered": sorted(filtered)},
            )
            parts.append(part)
    return parts


def _open(root: Path, name: str, source: FolderSource, filtered: AbstractSet[str]) -> tuple[_Table, int]:
    """Return a table and how many rows it has."""
    path, shown = root / name, printable(name)
    if not path.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{source.path}: {shown} leads outside the folder")
    schema, rows = read_schema(path)
    pictures = [each.name for each in schema if _holds_pictures(each.type)]
    if len(pictures) != 1:
        raise InputError(f"{source.path}: {shown} has {len(pictures)} columns of pictures (bytes, path), must have one")
    columns = {each: each.strip().lower() for each in schema.names if each != pictures[0]}
    texts = TEXT_COLUMNS if source.text is None else (source.text.strip().lower(),)
    if source.text is not None and texts[0] not in columns.values():
        found = ", ".join(map(printable, schema.names))
        raise InputError(f"{source.path}: {shown} has the columns {found}; ingest.source.text = {texts[0]!r} is none of them")
    wanted = {*texts, *FACTS, *filtered}
    kept = {each: lower for each, lower in columns.items() if lower in wanted}
    return _Table(path=path, name=name, picture=pictures[0], columns=kept, texts=texts, filtered=filtered), rows


def _holds_pictures(kind: pa.DataType) -> bool:
    """Return whether a column is one of pictures: structs of ``bytes`` and ``path``."""
    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0 or kind.get_field_index("path") < 0:
        return False
    data = kind.field("bytes").type
    return bool(pa.types.is_binary(data) or pa.types.is_large_binary(data))


def _read(table: _Table, start: int, stop: int) -> Iterator[RawSample]:
    """Yield the samples of a run of rows; a path in a row is a name at most, and never opened."""
    names = [table.picture, *table.columns]
    for number, row in enumerate(read_rows(table.path, names, start, stop, batch=PICTURES_AT_ONCE), start + 1):
        values = {lower: row[name] for name, lower in table.columns.items()}
        yield RawSample(
            origin=f"{printable(table.name)}/{number}",
            picture=_picture(row[table.picture]),
            alt_text=next(filter(None, (text_of(values.get(name)) for name in table.texts)), ""),
            facts=facts_of(values),
            columns={name: values[name] for name in table.filtered if name in values},
        )


def _picture(cell: dict[str, Any] | None) -> bytes | Refused:
    data = cell["bytes"] if cell is not None else None
    if not data:
        return Refused("no bytes of a picture in the row")
    return data if len(data) <= MAX_BYTES else Refused(f"file larger than {MAX_BYTES:,} bytes")
