"""The training set: tables of pairs with their masks; pictures stay in the corpus and are read by their keys.

A table holds texts, scores, digests, and both masks at one bit a pixel. Only a true target, which is in no corpus, is in the
table itself.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from stages.common.parquet import read_columns
from stages.common.text import one_line
from stages.core.errors import InputError
from stages.core.sidecars import Sidecar
from stages.corpus.corpus import Corpus, Location
from stages.corpus.images import Refused, decode_stored
from stages.corpus.samples import MAX_PIXELS, EditSample
from stages.pairing.columns import EDIT_COLUMNS, PICTURE_COLUMNS, PLACE_COLUMNS, SCORES

ROW_COLUMNS = {
    "key": "string",
    "target_key": "string",
    **dict.fromkeys(EDIT_COLUMNS, "string"),
    **dict.fromkeys(SCORES, "float32"),
    **PICTURE_COLUMNS,
    **dict.fromkeys(("source_mask", "target_mask"), "binary"),
    **dict.fromkeys(("source_mask_area", "target_mask_area"), "float64"),
    "target_png": "binary",
}
"""Columns of a table of the training set: column → type; see :class:`PairRow`."""

SUFFIX = ".parquet"
PAIRS_DIGEST = "pairs"  # the note of a table's sidecar with a digest of its pairs
ZSTD = pa.Codec("zstd", compression_level=9)


@dataclass(frozen=True, kw_only=True)
class PairRow:
    """A pair of the training set, with nothing decoded."""

    key: str  # of the source
    target_key: str
    caption: str  # y1
    edit_prompt: str  # y2
    source_term: str
    target_term: str
    relation: str
    source_diff: str  # y1_diff, CLIPSeg's query for the source
    target_diff: str  # y2_diff, CLIPSeg's query for the target
    query: float  # this and the next four: cosines, see stages.pairing.neighbours
    image_image: float
    text_image: float
    text_source: float
    directional: float
    target_alt_text: str  # the target's own text in the corpus
    source_pixels: str  # digest of the source's pixels: equal digests mean equal pictures
    target_pixels: str
    width: int  # of both pictures, pixels
    height: int
    source_offset: int  # where the source lies in the tar of its shard, bytes
    source_length: int
    target_offset: int
    target_length: int
    packed_source_mask: bytes  # M1, see pack_mask
    packed_target_mask: bytes  # M2
    source_mask_area: float  # share of the picture
    target_mask_area: float
    target_png: bytes  # the true target; empty if the target is a picture of the corpus

    @property
    def source(self) -> Location:
        """Where the source lies."""
        return Location(
            key=self.key,
            offset=self.source_offset,
            length=self.source_length,
            width=self.width,
            height=self.height,
            pixels=self.source_pixels,
        )

    @property
    def target(self) -> Location:
        """Where the target lies, if it is a picture of the corpus."""
        return Location(
            key=self.target_key,
            offset=self.target_offset,
            length=self.target_length,
            width=self.width,
            height=self.height,
            pixels=self.target_pixels,
        )

    @property
    def source_mask(self) -> bytes:
        """M1, one bit a pixel, row by row, filled up to a byte at its end."""
        return unpacked_bits(self.packed_source_mask, self.width, self.height)

    @property
    def target_mask(self) -> bytes:
        """M2, as :attr:`source_mask`."""
        return unpacked_bits(self.packed_target_mask, self.width, self.height)

    @property
    def is_rendered(self) -> bool:
        """Whether the target is drawn, and not a picture of the corpus."""
        return bool(self.target_png)


_COLUMN_OF = {"packed_source_mask": "source_mask", "packed_target_mask": "target_mask"}
_FIELDS = {field.name: _COLUMN_OF.get(field.name, field.name) for field in fields(PairRow)}


def pack_mask(mask: NDArray[np.bool_]) -> bytes:
    """Return a mask, (height, width), as bits, row by row, compressed by Zstandard."""
    packed: bytes = ZSTD.compress(np.packbits(mask).tobytes(), asbytes=True)
    return packed


def unpacked_bits(packed: bytes, width: int, height: int) -> bytes:
    """Return the bits that :func:`pack_mask` has compressed, filled up to a byte at their end.

    Raises:
        ValueError: they are damaged, or not of that size.
    """
    size = (width * height + 7) // 8
    try:
        bits: bytes = ZSTD.decompress(packed, decompressed_size=size, asbytes=True)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"a mask is damaged, or not of {width} × {height} pixels") from error
    return bits


def unpack_mask(bits: bytes, width: int, height: int) -> NDArray[np.bool_]:
    """Return the mask, (height, width), of bits as :attr:`PairRow.source_mask` has them."""
    found: NDArray[np.bool_] = np.unpackbits(np.frombuffer(bits, np.uint8), count=width * height).astype(bool)
    return found.reshape(height, width)


def write_pairs(path: Path, rows: Sequence[PairRow]) -> dict[str, str]:
    """Write rows as :func:`write_pairs_table` writes a table."""
    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in ROW_COLUMNS.items()])
    records = [{column: getattr(row, name) for name, column in _FIELDS.items()} for row in rows]
    return write_pairs_table(path, pa.Table.from_pylist(records, schema))


def write_pairs_table(path: Path, table: pa.Table) -> dict[str, str]:
    """Write a table of the training set, and return a note for its sidecar: the digest of its pairs.

    Where their pictures lie in the corpus is in the table and not in the digest.

    Args:
        path: the file to write.
        table: it has ROW_COLUMNS, and perhaps others.
    """
    chosen = table.select(list(ROW_COLUMNS))
    pq.write_table(chosen, path, compression="zstd")
    with pa.BufferOutputStream() as placeless:
        pq.write_table(chosen.drop_columns(list(PLACE_COLUMNS)), placeless, compression="zstd")
        return {PAIRS_DIGEST: hashlib.sha256(placeless.getvalue()).hexdigest()}


def pairs_digest(sidecar: Sidecar) -> str | None:
    """Return the digest of a table's pairs from its sidecar; None if it was written before there were any."""
    return next((str(note[PAIRS_DIGEST]) for note in sidecar.notes if PAIRS_DIGEST in note), None)


def read_pairs(path: Path, places: Sequence[int] | None = None) -> list[PairRow]:
    """Return the pairs of a table in order, or those at some places; texts come as single lines without control characters.

    Raises:
        InputError: the table is damaged, or a row is not as :class:`PairRow` describes.
    """
    table = read_columns(path, ROW_COLUMNS)
    chosen = table if places is None else table.take(np.array(places, np.int64))
    return [_row(path, record) for record in chosen.to_pylist()]


def target_picture(row: PairRow, corpus: Corpus) -> Image.Image:
    """Return the RGB picture of a pair's target.

    Raises:
        InputError: it cannot be read.
    """
    if not row.is_rendered:
        return corpus.picture(row.target)
    try:
        return decode_stored(row.target_png, (row.width, row.height))
    except (Refused, OSError, ValueError) as error:
        raise InputError(f"the true target of {row.key} is damaged: {error}; run the stage segment") from error


def edit_sample(row: PairRow, corpus: Corpus) -> EditSample:
    """Return a pair with its pictures and masks.

    Raises:
        InputError: a picture or a mask cannot be read, or is not of the pair's size.
    """
    source, target = corpus.picture(row.source), target_picture(row, corpus)
    try:
        masks = [unpack_mask(bits, row.width, row.height) for bits in (row.source_mask, row.target_mask)]
    except ValueError as error:
        raise InputError(f"pair {row.key}: {error}; run the stage segment") from error
    source_mask, target_mask = (Image.fromarray(mask.astype(np.uint8) * 255) for mask in masks)
    return EditSample(
        key=row.key,
        source=source,
        target=target,
        source_mask=source_mask,
        target_mask=target_mask,
        source_caption=row.caption,
        edit_prompt=row.edit_prompt,
        source_diff=row.source_diff,
        target_diff=row.target_diff,
        target_alt_text=row.target_alt_text,
        metadata={
            "target_key": row.target_key,
            "relation": row.relation,
            **{name: round(getattr(row, name), 6) for name in ("source_mask_area", "target_mask_area", *SCORES)},
        },
    )


def _row(path: Path, record: Mapping[str, Any]) -> PairRow:
    values = {name: record[column] for name, column in _FIELDS.items()}
    facts: dict[str, Any] = {name: one_line(value) if isinstance(value, str) else value for name, value in values.items()}
    row = PairRow(**facts)
    if not (row.width > 0 and row.height > 0 and row.width * row.height <= MAX_PIXELS):
        raise InputError(f"{path}: pair {row.key}: {row.width} × {row.height} pixels; run the stage segment")
    return row
