"""The table beside a folder of images, metadata.csv or metadata.jsonl, read row by row from any place in the file.

Columns, in any case: ``file_name``, and ``text`` or ``caption``. A row may have both only if they say the same.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from stages.core.errors import InputError
from stages.corpus.parts import facts_of, printable, text_of

NAMES = ("metadata.csv", "metadata.jsonl")
TEXT_COLUMNS = ("text", "caption")
LOOKALIKES = {"file_name": ("filename", "file", "image", "image_path", "path", "name"), "text": ("alt_text", "alt", "title")}
"""Column → names that people give it."""
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the table, and the bytes that it takes up in the file."""

    columns: frozenset[str]  # in lower case
    file_name: object  # untrusted; None if the row has none
    text: str
    facts: dict[str, Any]
    filtered: dict[str, Any]  # the columns that the filters look at
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class _Record:
    """A row as the file has it."""

    values: Mapping[str, Any]  # by column, in lower case
    line: int  # number of its last line
    start: int
    end: int


class Metadata:
    """The rows of a metadata file.

    Its methods raise InputError if the file cannot be read, or a row is malformed or has two different texts.
    """

    def __init__(self, path: Path, filtered: AbstractSet[str] = frozenset()) -> None:
        self.path, self.filtered = path, filtered

    def rows(self, start: int = 0, end: int | None = None) -> Iterator[Row]:
        """Yield the rows between two places in the file: the start of one row, and the end of another.

        Line numbers in messages count from ``start``.
        """
        read = self._csv if self.path.suffix == ".csv" else self._jsonl
        try:
            with self.path.open("rb") as file:
                yield from map(self._row, read(_Lines(file, end), start))
        except UnicodeDecodeError as error:
            raise InputError(f"{self.path}: not UTF-8") from error
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read: {error.strerror}") from error

    def check_columns(self, columns: AbstractSet[str]) -> None:
        """Refuse a table without rows, file names or texts; ``columns`` are those of all its rows together."""
        if not columns:
            raise InputError(f"{self.path}: has no rows")
        missing = {"file_name": "file_name" not in columns, "text": columns.isdisjoint(TEXT_COLUMNS)}
        if any(missing.values()):
            found = ", ".join(map(printable, sorted(columns)))
            renames = [
                f"rename {name} to {column}"
                for column, is_missing in missing.items()
                for name in LOOKALIKES[column]
                if is_missing and name in columns
            ]
            hint = f" ({' and '.join(renames)})" if renames else ""
            raise InputError(f"{self.path}: has the columns {found}; must have file_name, and text or caption{hint}")

    def _row(self, record: _Record) -> Row:
        values = record.values
        texts = [text for text in (text_of(values.get(name)) for name in TEXT_COLUMNS) if text]
        if len(set(texts)) > 1:
            raise InputError(f"{self.path} line {record.line}: text and caption differ; remove one of them")
        return Row(
            columns=frozenset(values),
            file_name=values.get("file_name"),
            text=texts[0] if texts else "",
            facts=facts_of(values),
            filtered={name: values[name] for name in sorted(self.filtered.intersection(values))},
            start=record.start,
            end=record.end,
        )

    def _csv(self, lines: "_Lines", start: int) -> Iterator[_Record]:
        reader = csv.reader(lines)
        try:
            columns = self._lower_case(next(reader, []), 1)
            if len(columns) == 1 and any(sign in columns[0] for sign in ";\t"):
                raise InputError(f"{self.path}: has one column, {printable(columns[0])}; separate columns with commas")
            lines.skip_to(start)
            place = lines.place
            for fields in reader:
                if len(fields) > len(columns):
                    raise InputError(f"{self.path} line {reader.line_num}: more fields than columns; quote texts with commas")
                if fields:
                    values = dict(zip(columns, fields, strict=False))
                    yield _Record(values=values, line=reader.line_num, start=place, end=lines.place)
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
                columns = self._lower_case(values, number)
                record = dict(zip(columns, values.values(), strict=True))
                yield _Record(values=record, line=number, start=place, end=lines.place)
            place = lines.place

    def _lower_case(self, names: Iterable[str], line: int) -> list[str]:
        columns = [name.strip().lower() for name in names]
        twice = next((name for name in columns if name and columns.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"{self.path} line {line}: more than one column {printable(twice)} (case does not count)")
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
