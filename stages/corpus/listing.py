"""Pictures that a folder lists by name, as parts of a source: each is found, and refused where its name leads astray.

File names are untrusted: nothing outside the folder is ever read.
"""

import os
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count
from pathlib import Path, PurePosixPath
from typing import Any

from stages.core.errors import InputError
from stages.core.files import value_digest
from stages.corpus.images import Refused
from stages.corpus.parts import MAX_BYTES, MAX_TEXT_BYTES, Part, RawSample, printable, short_digest, text_of


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A picture of a folder, by name."""

    file_name: object  # untrusted; None if a row of a table has none
    text: str = ""
    text_file: str | None = None  # the file below the folder that holds the text, if the text is not known yet
    facts: dict[str, Any] = field(default_factory=dict)
    filtered: dict[str, Any] = field(default_factory=dict)  # the columns that the filters look at


@dataclass(frozen=True, kw_only=True)
class Folder:
    """The folder below which the listed pictures lie."""

    path: Path
    prefix: str  # what the names in the corpus begin with: the path of this folder in that of the source, and a slash, or ""
    shown: str  # the source's path, for messages


def name_in(folder: Folder, row: Listed) -> str:
    """Return the name of a listed picture in the source."""
    return f"{folder.prefix}{'' if row.file_name is None else row.file_name}"


def digest_of(folder: Folder, row: Listed) -> str:
    """Return the digest of a listed picture's name, by which runs of pictures are divided and named."""
    return short_digest(folder.prefix + str(row.file_name))


def listed_part(
    folder: Folder, rows: Sequence[Listed], read_again: Callable[[], Iterable[Listed]], taken: Container[str]
) -> Part:
    """Return the part of a run of listed pictures.

    Args:
        folder: where they lie.
        rows: the pictures.
        read_again: lists them anew, in a worker process.
        taken: names of shards that other parts have.
    """
    first = digest_of(folder, rows[0])
    shard = next(name for name in chain([first], (f"{first}-{n}" for n in count())) if name not in taken)
    root = folder.path.resolve()
    places = [(_find(root, row.file_name, MAX_BYTES), _find_text(root, row)) for row in rows]
    listing = _listing(rows, places)
    return Part(
        shard=shard,
        name=f"{folder.shown} {printable(name_in(folder, rows[0]))} to {printable(name_in(folder, rows[-1]))}",
        samples=len(rows),
        read=partial(_read_rows, folder, read_again, listing),
        inputs=tuple(place for pair in places for place in pair if isinstance(place, Path)),
        settings={"rows": listing},
    )


Place = Path | Refused
Places = tuple[Place, Place | None]
"""Where picture and text are, or why they cannot be read; None: there is no file of the text."""


def _read_rows(folder: Folder, read_again: Callable[[], Iterable[Listed]], listing: str) -> Iterator[RawSample]:
    """Yield the samples of a part.

    Raises:
        InputError: rows or files are not those that were listed, whose digests decided that the shard is to be made.
    """
    root = folder.path.resolve()
    rows = list(read_again())
    places = [(_find(root, row.file_name, MAX_BYTES), _find_text(root, row)) for row in rows]
    if _listing(rows, places) != listing:
        raise InputError(f"{folder.path}: has changed since its files were listed; run again")
    for row, (picture, text) in zip(rows, places, strict=True):
        yield _sample(printable(name_in(folder, row)), row, picture, text)


def _sample(origin: str, row: Listed, picture: Place, text: Place | None) -> RawSample:
    if isinstance(text, Refused):
        return RawSample(origin=origin, picture=Refused(f"text: {text.reason}"), alt_text="")
    try:
        words = row.text if text is None else text_of(_read(text).decode())
    except UnicodeDecodeError:
        return RawSample(origin=origin, picture=Refused("text cannot be read"), alt_text="")
    data = picture if isinstance(picture, Refused) else _read(picture)
    return RawSample(origin=origin, picture=data, alt_text=words, facts=row.facts, columns=row.filtered)


def _listing(rows: Sequence[Listed], places: Sequence[Places]) -> str:
    """Return a digest of the rows, and of the reasons for which their files are refused."""
    said = [[str(row.file_name), row.text, row.facts, [*map(str, row.filtered.items())]] for row in rows]
    reasons = [[str(place) if isinstance(place, Refused) else place is not None for place in pair] for pair in places]
    return value_digest([*zip(said, reasons, strict=True)])


def _find_text(root: Path, row: Listed) -> Place | None:
    return None if row.text_file is None else _find(root, row.text_file, MAX_TEXT_BYTES)


def _find(root: Path, name: object, most: int) -> Place:
    """Return the file ``name`` below ``root``, a resolved path; or why it is missing, outside, unreadable or too large."""
    outside = Refused("file name outside the folder")
    if not isinstance(name, str) or not name:
        return Refused("no file name")
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        return outside
    try:
        path = (root / name).resolve(strict=True)
        size = path.stat().st_size
    except (OSError, ValueError, RuntimeError):  # missing; name too long or invalid; circular links
        return Refused("no such file")
    if not path.is_relative_to(root):
        return outside
    if not path.is_file() or not os.access(path, os.R_OK):
        return Refused("not a readable file")
    return path if size <= most else Refused(f"file larger than {most:,} bytes")


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
