"""A folder of images as a source: Hugging Face's imagefolder, with metadata.csv or metadata.jsonl beside the images.

Columns: ``file_name``, and ``text`` or ``caption`` (``text`` wins if both are present). File names are untrusted:
nothing outside the folder is ever read.
"""

import csv
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from stages.common.text import one_line
from stages.core.errors import InputError
from stages.core.params import FolderSource
from stages.corpus.images import Refused
from stages.corpus.parts import MAX_BYTES, Part, RawSample, facts_of, printable

TEXT_COLUMNS = ("text", "caption")

Row = dict[str, Any]


def folder_parts(source: FolderSource, shard_size: int) -> list[Part]:
    """Return the parts of a folder: runs of ``shard_size`` metadata rows, in file order.

    Raises:
        InputError: the folder is missing, it does not hold exactly one metadata file, or that file cannot be read or
            lacks a column.
    """
    folder = Path(source.path)
    if not folder.is_dir():
        raise InputError(f"ingest.source.path = {source.path!r}: no such folder")
    found = [path for path in (folder / "metadata.csv", folder / "metadata.jsonl") if path.is_file()]
    if len(found) != 1:
        raise InputError(f"{folder}: has {len(found)} of metadata.csv and metadata.jsonl, must have exactly one")
    try:
        rows = list(_csv_rows(found[0]) if found[0].suffix == ".csv" else _jsonl_rows(found[0]))
    except UnicodeDecodeError as error:
        raise InputError(f"{found[0]}: not UTF-8") from error
    if not rows:
        raise InputError(f"{found[0]}: has no rows")
    missing = {"file_name"} - rows[0].keys()
    text_column = next((name for name in TEXT_COLUMNS if name in rows[0]), None)
    if missing or text_column is None:
        columns = ", ".join(map(printable, rows[0]))
        raise InputError(f"{found[0]}: has the columns {columns}; must have file_name, and text or caption")
    starts = range(0, len(rows), shard_size)
    return [_part(folder, rows[start : start + shard_size], text_column, start) for start in starts]


def _part(folder: Path, rows: Sequence[Row], text_column: str, start: int) -> Part:
    root = folder.resolve()
    found: list[Path | Refused] = []
    for row in rows:
        try:
            found.append(_find(root, row.get("file_name")))
        except Refused as reason:
            found.append(reason)

    def read() -> Iterator[RawSample]:
        for row, place in zip(rows, found, strict=True):
            yield RawSample(
                origin=printable(row.get("file_name")),
                picture=place if isinstance(place, Refused) else _read(place),
                alt_text=one_line(row.get(text_column)),
                facts=facts_of(row),
            )

    words = [[str(row.get("file_name")), one_line(row.get(text_column)), facts_of(row)] for row in rows]
    return Part(
        name=f"{folder} rows {start}-{start + len(rows) - 1}",
        samples=len(rows),
        read=read,
        inputs=tuple(place for place in found if isinstance(place, Path)),
        settings={"rows": words, "refused": [str(place) if isinstance(place, Refused) else "" for place in found]},
    )


def _find(root: Path, name: object) -> Path:
    """Return the file ``name`` below ``root``, a resolved path.

    Raises:
        Refused: the file is missing, outside ``root``, unreadable or too large.
    """
    if not isinstance(name, str) or not name:
        raise Refused("no file name")
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise Refused("file name outside the folder")
    try:
        path = (root / name).resolve(strict=True)
        size = path.stat().st_size
    except (OSError, ValueError, RuntimeError) as error:  # missing; name too long or invalid; circular links
        raise Refused("no such file") from error
    if not path.is_relative_to(root):
        raise Refused("file name outside the folder")
    if not path.is_file() or not os.access(path, os.R_OK):
        raise Refused("not a readable file")
    if size > MAX_BYTES:
        raise Refused(f"file larger than {MAX_BYTES:,} bytes")
    return path


def _read(path: Path) -> bytes:
    """Return the bytes of a file that existed when the folder was listed.

    Raises:
        InputError: the file is gone. Refusing the sample instead would record the refusal under a fingerprint that
            was taken of the file's bytes.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{printable(path)}: can no longer be read: {error.strerror}; run again") from error


def _csv_rows(path: Path) -> Iterator[Row]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, restkey="")
        try:
            for row in reader:
                if "" in row:
                    raise InputError(f"{path} line {reader.line_num}: more fields than columns; quote texts with commas")
                yield row
        except csv.Error as error:
            raise InputError(f"{path} after line {reader.line_num}: not CSV: {error}") from error


def _jsonl_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path} line {number}: not JSON") from error
            if not isinstance(row, dict):
                raise InputError(f"{path} line {number}: not a JSON object")
            yield row
