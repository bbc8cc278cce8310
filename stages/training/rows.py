"""The encoded rows of a shard: for each drawn pair where its latents and texts are, and its masks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.pairing.training_set import unpack_mask, unpacked_bits
from stages.training.records import DIGEST


class EncodedRow(NamedTuple):
    """A drawn pair."""

    key: str
    number: int  # of the row in the shard of the training set
    target_key: str  # of the target picture in the corpus; "" if the picture is in the training set itself
    target: tuple[int, int]  # offset and length of that picture in the tar of its shard
    size: tuple[int, int]  # height and width of the pictures in pixels
    latents: tuple[int, int]  # places of source and target among the shard's latents
    texts: tuple[str, str]  # digests of prompt and diff
    masks: tuple[bytes, bytes]  # of source and target, see :func:`stages.pairing.training_set.pack_mask`


def write_rows(rows_file: Path, masks_file: Path, rows: Sequence[EncodedRow]) -> None:
    """Write the rows of a shard, and their masks."""
    lengths = (
        max(len(key.encode()) for key in keys) or 1 for keys in zip(*((row.key, row.target_key) for row in rows), strict=True)
    )
    keys = [(name, f"S{length}") for name, length in zip(("key", "target_key"), lengths, strict=True)]
    fields = [("number", "<i4"), *keys, ("target", "<i8", 2), ("size", "<i4", 2), ("latents", "<i4", 2)]
    fields += [("texts", DIGEST, 2), ("masks", "<i8", 3)]
    masks = [mask for row in rows for mask in row.masks]
    ends = np.cumsum([0, *map(len, masks)])
    table = np.zeros(len(rows), np.dtype(fields))
    for place, row in enumerate(rows):
        bounds = ends[2 * place : 2 * place + 3]
        keys_of_row = row.key.encode(), row.target_key.encode()
        table[place] = (row.number, *keys_of_row, row.target, row.size, row.latents, row.texts, bounds)
    np.save(rows_file, table)
    np.save(masks_file, np.frombuffer(b"".join(masks), np.uint8))


def read_masks(row: Any, masks: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the masks of source and target, (2, height, width).

    Args:
        row: a row that :func:`write_rows` wrote.
        masks: the contents of its file of masks.
    """
    start, middle, end = row["masks"]
    height, width = row["size"].tolist()
    packed = (masks[first:last].tobytes() for first, last in ((start, middle), (middle, end)))
    return np.stack([unpack_mask(unpacked_bits(each, width, height), width, height) for each in packed])
