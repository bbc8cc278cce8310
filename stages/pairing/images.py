"""What the corpus holds of the images of each table of pairs, as digests: found in one pass, whatever shards they are in."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stages.common.parquet import read_columns
from stages.core.errors import InputError
from stages.corpus.corpus import Corpus, CorpusRow
from stages.corpus.parts import printable

KEYS = {"key": "string", "target_key": "string"}
WIDTH = 16  # bytes of an image's digest


def digest_images(tables: Sequence[Path], corpus: Corpus) -> list[str]:
    """Return for each table of pairs a digest of pixels, alt texts and origins of its sources and targets.

    Every table and every index of the corpus is read once. The memory is about 60 bytes a pair and side.

    Raises:
        InputError: a table is damaged, or the corpus lacks an image.
    """
    keys = [_keys(table) for table in tables]
    wanted = np.concatenate(keys) if keys else np.zeros(0, "S1")
    order = np.argsort(wanted, kind="stable")
    ranked = wanted[order]
    digests = np.zeros((len(wanted), WIDTH), np.uint8)
    found = np.zeros(len(wanted), bool)
    for shard in corpus.shards():
        rows = corpus.rows(shard)
        names = np.array([row.key.encode() for row in rows], dtype=np.bytes_)
        bounds = zip(np.searchsorted(ranked, names, "left"), np.searchsorted(ranked, names, "right"), strict=True)
        for row, (first, end) in zip(rows, bounds, strict=True):
            if first < end:
                digests[order[first:end]] = np.frombuffer(_digest(row), np.uint8)
                found[order[first:end]] = True
    if not found.all():
        key = wanted[np.argmin(found)].decode()
        raise InputError(f"the corpus has no image {printable(key)!r}; run the stages from ingest on")
    ends = np.cumsum([len(each) for each in keys])
    return [hashlib.sha256(part.tobytes()).hexdigest() for part in np.split(digests, ends[:-1])] if keys else []


def _keys(table: Path) -> np.ndarray:
    """Return the keys of the sources, then those of the targets."""
    columns = read_columns(table, KEYS)
    return np.array([key.encode() for name in KEYS for key in columns[name].to_pylist()], dtype=np.bytes_)


def _digest(row: CorpusRow) -> bytes:
    text = "\0".join([row.pixels, row.alt_text, str(row.origin)])
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=WIDTH).digest()
