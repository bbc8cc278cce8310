"""Lists of URLs from metadata as LAION's: Parquet files of URLs, texts and scores, filtered before a picture is fetched."""

import string
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from stages.common.parquet import batched, read_rows, read_schema
from stages.core.errors import InputError
from stages.core.params_download import Download
from stages.corpus.filters import ASPECT, SIDES, Filters, check_metadata, columns_of
from stages.corpus.images import Refused
from stages.corpus.parts import FACTS, printable
from stages.corpus.places import missing, resolve

URL, TEXT = "url", "caption"  # columns of a list
MEASURED = frozenset({*SIDES, ASPECT})  # what img2dataset writes about the pictures that come
RESERVED = frozenset({URL, TEXT, "key", "status", "error_message", "exif", "sha256", *SIDES})  # names that img2dataset writes
BATCH = 10_000  # rows in memory


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """A Parquet file with URLs, and which of its columns say what."""

    path: Path
    url: str
    text: str | None
    kept: dict[str, str]  # further column that the list keeps → its name in lower case
    schema: pa.Schema
    judged: dict[str, str]  # column that a filter looks at → its name in lower case


def metadata_files(section: Download) -> list[Path]:
    """Return the Parquet files that ``download.metadata`` names, sorted.

    Raises:
        InputError: there are none.
    """
    if section.metadata is None:
        raise InputError("download.metadata = null: must name the Parquet files with the URLs: a file, a folder or a glob")
    pattern, local = resolve(section.metadata), LocalFileSystem()
    found = local.glob(f"{pattern}/**/*.parquet" if Path(pattern).is_dir() else pattern)
    files = sorted(path for path in map(Path, found) if path.is_file())
    if not files:
        raise InputError(f"download.metadata = {section.metadata!r}: no Parquet file there{missing(section.metadata)}")
    return files


def open_metadata(path: Path, section: Download, filters: Filters) -> Metadata:
    """Return a file of metadata whose columns are known.

    Raises:
        InputError: it is not Parquet, or lacks the column of the URLs or the texts.
    """
    schema, _ = read_schema(path)
    columns = {name.strip().lower(): name for name in schema.names}
    for key, name in (("url", section.url), ("text", section.text)):
        if name is not None and name.lower() not in columns:
            found = ", ".join(map(printable, schema.names))
            raise InputError(f"download.{key} = {name!r}: {path} has no such column; it has {found}")
    judged = columns_of(filters)
    return Metadata(
        path=path,
        url=columns[section.url.lower()],
        text=None if section.text is None else columns[section.text.lower()],
        kept={columns[name]: name for name in sorted({*judged, *FACTS} - RESERVED - MEASURED) if name in columns},
        schema=schema,
        judged={columns[name]: name for name in sorted(judged) if name in columns},
    )


def write_list(metadata: Metadata, filters: Filters, path: Path) -> tuple[int, Counter[str]]:
    """Write the rows that pass the filters as a list for img2dataset, and return how many, and what was left out by reason."""
    fields = [pa.field(lower, metadata.schema.field(name).type) for name, lower in metadata.kept.items()]
    schema = pa.schema([pa.field(URL, pa.string()), pa.field(TEXT, pa.string()), *fields])
    dropped, count = Counter[str](), 0
    with pq.ParquetWriter(path, schema) as writer:
        for rows in batched(_passing(metadata, filters, dropped), BATCH):
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            count += len(rows)
    return count, dropped


def _passing(metadata: Metadata, filters: Filters, dropped: Counter[str]) -> Iterator[dict[str, Any]]:
    texts = [] if metadata.text is None else [metadata.text]
    columns = sorted({metadata.url, *texts, *metadata.kept, *metadata.judged})
    for row in read_rows(metadata.path, columns, batch=BATCH):
        try:
            check_metadata(filters, {lower: row[name] for name, lower in metadata.judged.items()})
            url = _checked_url(row[metadata.url])
        except Refused as refused:
            dropped[refused.reason] += 1
            continue
        words = next((row[name] for name in texts if isinstance(row[name], str)), "")
        yield {URL: url, TEXT: words} | {lower: row[name] for name, lower in metadata.kept.items()}


def _checked_url(value: Any) -> str:
    """Return a URL of http or https, its signs outside of ASCII in percents.

    Raises:
        Refused: it is none.
    """
    try:
        url = quote(value.strip(), safe=string.punctuation)
        parts = urlsplit(url)
    except (AttributeError, ValueError, UnicodeError):
        raise Refused("no URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Refused("no URL of http or https")
    return url
