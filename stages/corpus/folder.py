"""A folder of images as a source: Hugging Face's imagefolder, with metadata.csv or metadata.jsonl beside the images.

File names are untrusted: nothing outside the folder is ever read. The rows are divided into content-defined chunks, so
that a picture that comes, goes or changes costs its own shard. The stage itself lists the folder and looks up each file, so
beyond some million images a source is better packed into tars.
"""

import os
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from itertools import chain, count
from pathlib import Path, PurePosixPath

from stages.core.errors import InputError
from stages.core.files import value_digest
from stages.core.params_ingest import FolderSource
from stages.corpus.chunks import chunked
from stages.corpus.images import Refused
from stages.corpus.metadata import NAMES, Metadata, Row
from stages.corpus.parts import MAX_BYTES, Part, RawSample, printable, short_digest
from stages.corpus.places import missing, resolve

CAPTION_FILES = (".txt", ".caption")
TABLE_SUFFIXES = tuple(Path(name).suffix for name in NAMES)


def folder_parts(source: FolderSource, shard_size: int, filtered: AbstractSet[str] = frozenset()) -> list[Part]:
    """Return the parts of a folder: chunks of at most ``shard_size`` metadata rows, in file order.

    Raises:
        InputError: the folder is missing, it does not hold exactly one metadata file, or that file cannot be read or
            lacks a column.
    """
    folder = Path(resolve(source.path))
    if not folder.is_dir():
        raise InputError(f"ingest.source.path = {source.path!r}: no such folder{missing(source.path)}")
    metadata = Metadata(_find_metadata(folder, source.path), filtered)
    columns: set[str] = set()
    parts: dict[str, Part] = {}
    for rows in chunked(metadata.rows(), shard_size, lambda row: short_digest(str(row.file_name))):
        columns.update(*(row.columns for row in rows))
        part = _part(folder, metadata, rows, source.path, taken=parts)
        parts[part.shard] = part
    metadata.check_columns(columns)
    return list(parts.values())


def _find_metadata(folder: Path, shown: str) -> Path:
    found = [path for path in (folder / name for name in NAMES) if path.is_file()]
    if len(found) == 1:
        return found[0]
    hint = "" if found else _hint(folder, shown)
    raise InputError(f"{shown}: has {len(found)} of {' and '.join(NAMES)}, must have exactly one{hint}")


def _hint(folder: Path, shown: str) -> str:
    """Return what else a folder without metadata seems to be, and what to do about it."""
    splits = sorted({path.parent.name for name in NAMES for path in folder.glob(f"*/{name}")})
    if splits:
        chosen = "train" if "train" in splits else printable(splits[0]) if len(splits) == 1 else "ONE-OF-THEM"
        return f"; found it in {', '.join(map(printable, splits))}: set ingest.source.path = {shown}/{chosen}"
    tables = sorted(path for path in folder.iterdir() if path.suffix.lower() in TABLE_SUFFIXES and path.is_file())
    if tables:
        names = ", ".join(printable(path.name) for path in tables)
        return f"; has {names}: rename the table of the pictures to metadata{printable(tables[0].suffix.lower())}"
    texts = next((path for path in folder.rglob("*") if path.suffix.lower() in CAPTION_FILES), None)
    if texts is not None and any(path.suffix != texts.suffix for path in texts.parent.glob(f"{texts.stem}.*")):
        pack = f"tar -cf photos.tar -C {shown} ."
        return f"; texts beside the pictures, such as {printable(texts.name)}, are read from tars: {pack}, source=webdataset"
    return ""


def _part(folder: Path, metadata: Metadata, rows: Sequence[Row], shown: str, taken: dict[str, Part]) -> Part:
    root = folder.resolve()
    first = short_digest(str(rows[0].file_name))
    shard = next(name for name in chain([first], (f"{first}-{n}" for n in count())) if name not in taken)
    places = [_find(root, row.file_name) for row in rows]
    listing = _listing(rows, places)
    read = partial(_read_rows, folder, metadata, rows[0].start, rows[-1].end, listing)
    return Part(
        shard=shard,
        name=f"{shown} {printable(rows[0].file_name)} to {printable(rows[-1].file_name)}",
        samples=len(rows),
        read=read,
        inputs=tuple(place for place in places if isinstance(place, Path)),
        settings={"rows": listing},
    )


def _read_rows(folder: Path, metadata: Metadata, start: int, end: int, listing: str) -> Iterator[RawSample]:
    """Yield the samples of the rows between two places in the metadata file.

    Raises:
        InputError: rows or files are not those that were listed, whose digests decided that the shard is to be made.
    """
    root = folder.resolve()
    rows = list(metadata.rows(start, end))
    places = [_find(root, row.file_name) for row in rows]
    if _listing(rows, places) != listing:
        raise InputError(f"{folder}: has changed since its files were listed; run again")
    for row, place in zip(rows, places, strict=True):
        yield RawSample(
            origin=printable("" if row.file_name is None else row.file_name),
            picture=place if isinstance(place, Refused) else _read(place),
            alt_text=row.text,
            facts=row.facts,
            columns=row.filtered,
        )


def _listing(rows: Sequence[Row], places: Sequence[Path | Refused]) -> str:
    """Return a digest of the rows, and of the reasons for which their files are refused."""
    reasons = [str(place) if isinstance(place, Refused) else "" for place in places]
    said = [
        [str(row.file_name), row.text, row.facts, {name: str(value) for name, value in row.filtered.items()}] for row in rows
    ]
    return value_digest([[*row, reason] for row, reason in zip(said, reasons, strict=True)])


def _find(root: Path, name: object) -> Path | Refused:
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
    return path if size <= MAX_BYTES else Refused(f"file larger than {MAX_BYTES:,} bytes")


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
