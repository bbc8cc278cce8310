"""The table beside a folder of images, metadata.csv, .jsonl or .parquet, read row by row from any place in it.

Columns, in any case: ``file_name``, and for captions ``text`` or ``caption``, or the one that ``ingest.source.text`` names. A
row may have both only if they say the same, and may have none.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from stages.common.parquet import read_rows, read_schema
from stages.core.errors import InputError
from stages.corpus.listing import Listed
from stages.corpus.parts import FACTS, facts_of, printable, text_of

NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
TEXT_COLUMNS = ("text", "caption")
LOOKALIKES = ("filename", "file", "image", "image_path", "path", "name")  # names that people give to file_name
TEXT_LOOKALIKES = ("alt_text", "alt", "title")  # and to text
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, kw_only=True)
class Row(Listed):
    """A row of the table, and its place: the bytes that it takes up in the file, or its number in Parquet."""

    columns: frozenset[str]  # in lower case
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class _Record:
    """A row as the file has it."""

    values: Mapping[str, Any]  # by column, in lower case
    where: str  # it ends, for messages: "line 3"
    start: int
    end: int


class Metadata:
    """The rows of a metadata file.

    Its methods raise InputError if the file cannot be read, or a row is malformed or has two different texts.
    """

    def __init__(self, path: Path, *, text: str | None = None, filtered: AbstractSet[str] = frozenset()) -> None:
        """Make a reader of a file.

        Args:
            path: the file; its suffix says what it is.
            text: the column of the captions; None: one of TEXT_COLUMNS.
            filtered: the columns that filters look at, in lower case.
        """
        self.path, self.filtered = path, filtered
        self.texts = TEXT_COLUMNS if text is None else (text.strip().lower(),)
        self._is_chosen = text is not None

    def rows(self, start: int = 0, end: int | None = None) -> Iterator[Row]:
        """Yield the rows between two places in the file: the start of one row, and the end of another.

        Line numbers in messages count from ``start``.
        """
        if self.path.suffix == ".parquet":
            yield from map(self._row, self._parquet(start, end))
            return
        read = self._csv if self.path.suffix == ".csv" else self._jsonl
        try:
            with self.path.open("rb") as file:
                yield from map(self._row, read(_Lines(file, end), start))
        except UnicodeDecodeError as error:
            raise InputError(f"{self.path}: not UTF-8") from error
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read: {error.strerror}") from error

    def check_columns(self, columns: AbstractSet[str]) -> None:
        """Refuse a table without rows or file names, or whose captions stand in a column of another name.

        Args:
            columns: those of all its rows together.
        """
        if not columns:
            raise InputError(f"{self.path}: has no rows")
        similar = [name for name in LOOKALIKES if name in columns]
        found = f"{self.path}: has the columns {', '.join(map(printable, sorted(columns)))}"
        if "file_name" not in columns:
            hint = f" (rename {similar[0]} to file_name)" if similar else ""
            raise InputError(f"{found}; must have file_name{hint}")
        if columns.isdisjoint(self.texts):
            titles = [name for name in TEXT_LOOKALIKES if name in columns]
            if self._is_chosen:
                raise InputError(f"{found}; ingest.source.text = {self.texts[0]!r} is none of them")
            if titles:
                raise InputError(f"{found}; set ingest.source.text = {titles[0]} if that is the caption, or remove it")

    def _row(self, record: _Record) -> Row:
        values = record.values
        texts = [text for text in (text_of(values.get(name)) for name in self.texts) if text]
        if len(set(texts)) > 1:
            raise InputError(f"{self.path} {record.where}: text and caption differ; remove one of them")
        return Row(
            columns=frozenset(values),
            file_name=values.get("file_name"),
            text=texts[0] if texts else "",
            facts=facts_of(values),
            filtered={name: values[name] for name in sorted(self.filtered & values.keys())},
            start=record.start,
            end=record.end,
        )

    def _csv(self, lines: "_Lines", start: int) -> Iterator[_Record]:
        reader = csv.reader(lines)
        try:
            columns = self._lower_case(next(reader, []), "line 1")
            if len(columns) == 1 and any(sign in columns[0] for sign in ";\t"):
                raise InputError(f"{self.path}: has one column, {printable(columns[0])}; separate columns with commas")
            lines.skip_to(start)
            place = lines.place
            for fields in reader:
                if len(fields) > len(columns):
                    raise InputError(f"{self.path} line {reader.line_num}: more fields than columns; quote texts with commas")
                if fields:
                    values = dict(zip(columns, fields, strict=False))
                    yield _Record(values=values, where=f"line {reader.line_num}", start=place, end=lines.place)
                place = lines.place
        except csv.Error as error:
            raise InputError(f"{self.path} line {reader.line_num}: not CSV: {error}") from error

    def _jsonl(self, lines: "_Lines", start: int) -> Iterator[_Record]:
        lines.skip_to(start)
        place = lines.place
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    values = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise InputError(f"{self.path} line {number}: not JSON") from error
                if not isinstance(values, dict):
                    raise InputError(f"{self.path} line {number}: not a JSON object")
                columns = self._lower_case(values, f"line {number}")
                record = dict(zip(columns, values.values(), strict=True))
                yield _Record(values=record, where=f"line {number}", start=place, end=lines.place)
            place = lines.place

    def _parquet(self, start: int, end: int | None) -> Iterator[_Record]:
        schema, _ = read_schema(self.path)
        column_of = dict(zip(schema.names, self._lower_case(schema.names, "its schema"), strict=True))
        wanted = {"file_name", *self.texts, *TEXT_LOOKALIKES, *LOOKALIKES, *FACTS, *self.filtered}
        names = [name for name, column in column_of.items() if column in wanted]
        for number, row in enumerate(read_rows(self.path, names, start, end), start):
            values = {column_of[name]: value for name, value in row.items()}
            yield _Record(values=values, where=f"row {number + 1}", start=number, end=number + 1)

    def _lower_case(self, names: Iterable[str], where: str) -> list[str]:
        columns = [name.strip().lower() for name in names]
        twice = next((name for name in columns if name and columns.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"{self.path} {where}: more than one column {printable(twice)} (case does not count)")
        return columns


class _Lines:
    """The lines of a UTF-8 file, and the place in the file after the last one."""

    def __init__(self, file: IO[bytes], end: int | None) -> None:
        self._file, self._end, self.place = file, end, 0

    def skip_to(self, place: int) -> None:
        """Continue at a place, unless that has been passed already."""
        if place > self.place:
            self._file.seek(place)
            self.place = place

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = b"" if self._end is not None and self.place >= self._end else self._file.readline()
        if not line:
            raise StopIteration
        is_first, self.place = self.place == 0, self.place + len(line)
        return (line.removeprefix(BOM) if is_first else line).decode()
