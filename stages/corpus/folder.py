"""A folder of images as a source, in the layouts of Hugging Face's datasets and of whoever just has photographs.

- Tables named metadata.csv, metadata.jsonl or metadata.parquet, in the folder or in folders below it; each names pictures
  that lie below its own folder, and those that it does not name are no part of the source.
- Parquet files with the pictures in them, see :mod:`stages.corpus.image_tables`.
- Pictures alone, in any folders, each with a caption in a text file of its name, or without one.

The rows are divided into content-defined chunks, so that a picture that comes, goes or changes costs its own shard. The stage
itself lists the folder and looks up each file, so beyond some million images a source is better packed into tars.
"""

import os
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from stages.core.errors import InputError
from stages.core.params_ingest import FolderSource
from stages.corpus.chunks import chunked
from stages.corpus.image_tables import image_table_parts
from stages.corpus.listing import Folder, Listed, digest_of, listed_part
from stages.corpus.metadata import NAMES, Metadata
from stages.corpus.parts import PICTURE_SUFFIXES, Part, printable
from stages.corpus.places import missing, resolve

TEXT_SUFFIXES = (".txt", ".caption")
SPLITS = ("train", "test", "validation", "valid", "val", "dev")  # names that datasets are divided by
PARQUET = ".parquet"


@dataclass(kw_only=True)
class _Found:
    """What a folder holds, by names below it, sorted folder by folder."""

    tables: list[str] = field(default_factory=list)  # metadata files
    parquet: list[str] = field(default_factory=list)  # other Parquet files
    pictures: list[tuple[str, str | None]] = field(default_factory=list)  # and the text file beside each


def folder_parts(source: FolderSource, shard_size: int, filtered: AbstractSet[str] = frozenset()) -> list[Part]:
    """Return the parts of a folder: runs of at most ``shard_size`` pictures.

    Args:
        source: the folder, and the column of its captions.
        shard_size: the most pictures in a part.
        filtered: columns of the tables that filters look at, in lower case.

    Raises:
        InputError: the folder is missing, holds no pictures or several splits, or a table cannot be read or lacks a column.
    """
    root, shown = Path(resolve(source.path)), source.path
    if not root.is_dir():
        raise InputError(f"ingest.source.path = {shown!r}: no such folder{missing(shown)}")
    found = _survey(root, shown)
    _check_splits(root, found, shown)
    _check_strays(found, shown)
    if found.tables:
        return _table_parts(root, found.tables, source, shard_size, filtered)
    if found.parquet:
        return image_table_parts(root, found.parquet, source, shard_size, filtered)
    _check_tables(root, shown)
    if not found.pictures:
        raise InputError(f"{shown}: has no pictures, no {' or '.join(NAMES)}, and no Parquet files")
    return _picture_parts(Folder(path=root, prefix="", shown=shown), found.pictures, shard_size)


def _survey(root: Path, shown: str) -> _Found:
    """Return what a folder holds; a table in the folder itself speaks for all of it. Hidden files and folders do not count.

    Raises:
        InputError: a folder cannot be read, or is a link, which is not followed; what it holds would be missing unnoticed.
    """

    def refuse(error: OSError) -> None:
        raise InputError(f"{shown}: {printable(os.path.relpath(error.filename, root))}: {error.strerror}") from error

    found = _Found()
    found.tables = [name for name in NAMES if (root / name).is_file()]
    if found.tables:
        return found
    for folder, folders, files in os.walk(root, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        prefix = "" if Path(folder) == root else f"{Path(folder).relative_to(root).as_posix()}/"
        if links := [name for name in folders if os.path.islink(Path(folder, name))]:  # noqa: PTH114 - Path fails for long names
            link = printable(prefix + links[0])
            raise InputError(f"{shown}: {link} is a link to a folder, which is not followed; remove it or move that folder")
        names = sorted(name for name in files if not name.startswith("."))
        texts = {(Path(name).stem, Path(name).suffix.lower()): prefix + name for name in names}
        for name in names:
            stem, suffix = Path(name).stem, Path(name).suffix.lower()
            if name in NAMES:
                found.tables.append(prefix + name)
            elif suffix == PARQUET:
                found.parquet.append(prefix + name)
            elif suffix in PICTURE_SUFFIXES:
                text = next((texts[stem, each] for each in TEXT_SUFFIXES if (stem, each) in texts), None)
                found.pictures.append((prefix + name, text))
    return found


def _check_splits(root: Path, found: _Found, shown: str) -> None:
    """Refuse a data set with several splits: what it keeps for a test should not be trained on unasked.

    A split is a folder, as in ``train/0.png``, or how a Parquet file's name begins, as in ``train-00000-of-00002.parquet``.
    """
    names = found.tables or found.parquet or [name for name, _ in found.pictures]
    splits = {PurePosixPath(name).parts[0] for name in names}
    splits.update(PurePosixPath(name).name.partition("-")[0] for name in found.parquet)
    several = sorted(splits.intersection(SPLITS))
    if len(several) > 1:
        chosen = "train" if "train" in several else "ONE-OF-THEM"
        how = f"set ingest.source.path = {shown}/{chosen}"
        if not (root / several[0]).is_dir():
            how = "put the files of one into a folder of its own"
        raise InputError(f"{shown}: has the splits {', '.join(several)}; {how}")


def _check_strays(found: _Found, shown: str) -> None:
    """Refuse to overlook pictures, or Parquet files with pictures, that lie beside a table's folder or beside Parquet files."""
    places = {PurePosixPath(table).parent for table in found.tables}
    if places:
        others, held = [*found.parquet, *(name for name, _ in found.pictures)], "no folder with a table"
        strays = [name for name in others if places.isdisjoint(PurePosixPath(name).parents)]
    else:
        strays, held = [name for name, _ in found.pictures] if found.parquet else [], "no Parquet file, unlike the others"
    if strays:
        more = f" and {len(strays) - 1:,} more lie" if len(strays) > 1 else " lies"
        raise InputError(f"{shown}: {printable(strays[0])}{more} in {held}; move them to a folder of their own, outside")


def _check_tables(root: Path, shown: str) -> None:
    """Refuse to overlook a table of the pictures that is named in another way."""
    endings = {Path(name).suffix for name in NAMES}
    tables = sorted(path for path in root.iterdir() if path.suffix.lower() in endings and path.is_file())
    if tables:
        names = ", ".join(printable(path.name) for path in tables)
        ending = printable(tables[0].suffix.lower())
        raise InputError(
            f"{shown}: has none of {', '.join(NAMES)}, but {names}: rename the table of the pictures to metadata{ending}"
        )


def _table_parts(
    root: Path, tables: Iterable[str], source: FolderSource, shard_size: int, filtered: AbstractSet[str]
) -> list[Part]:
    parts: dict[str, Part] = {}
    folders: set[PurePosixPath] = set()
    for table in map(PurePosixPath, tables):
        prefix = "" if table.parent == PurePosixPath() else f"{table.parent}/"
        folder = Folder(path=root / table.parent, prefix=prefix, shown=source.path)
        if table.parent in folders:
            raise InputError(f"{source.path}/{prefix}: has more than one of {', '.join(NAMES)}, must have exactly one")
        folders.add(table.parent)
        metadata = Metadata(root / table, text=source.text, filtered=filtered)
        columns: set[str] = set()
        for rows in chunked(metadata.rows(), shard_size, partial(digest_of, folder)):
            columns.update(*(row.columns for row in rows))
            part = listed_part(folder, rows, partial(metadata.rows, rows[0].start, rows[-1].end), taken=parts)
            parts[part.shard] = part
        metadata.check_columns(columns)
    return list(parts.values())


def _picture_parts(folder: Folder, pictures: Iterable[tuple[str, str | None]], shard_size: int) -> list[Part]:
    parts: dict[str, Part] = {}
    listed = (Listed(file_name=name, text_file=text) for name, text in pictures)
    for rows in chunked(listed, shard_size, partial(digest_of, folder)):
        part = listed_part(folder, rows, partial(iter, rows), taken=parts)
        parts[part.shard] = part
    return list(parts.values())
