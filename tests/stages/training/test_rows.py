"""The rows of a shard: masks of any size come back bit by bit."""

import numpy as np
import pytest

from stages.pairing.training_set import pack_mask
from stages.training.records import open_records, text_digest
from stages.training.rows import EncodedRow, read_masks, write_rows


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (32, 32), (24, 40)])
def test_rows_and_masks_come_back(tmp_path, size):
    rng = np.random.default_rng(0)
    pairs = [rng.integers(2, size=(2, *size), dtype=np.uint8) for _ in range(5)]
    rows = [
        EncodedRow(
            key=f"shard{number}",
            number=3 * number,
            target_key="" if number == 1 else f"other{10**number}",
            target=(number << 40, 5 * number),
            size=size,
            latents=(number, number + 1),
            texts=(text_digest(f"prompt {number}"), text_digest("diff")),
            masks=tuple(pack_mask(mask.astype(bool)) for mask in masks),
        )
        for number, masks in enumerate(pairs)
    ]
    write_rows(tmp_path / "rows.npy", tmp_path / "masks.npy", rows)
    found, masks = open_records(tmp_path / "rows.npy"), open_records(tmp_path / "masks.npy")
    for row, wanted, pair in zip(found, rows, pairs, strict=True):
        assert (row["key"].decode(), row["number"], row["target_key"].decode()) == (
            wanted.key,
            wanted.number,
            wanted.target_key,
        )
        assert tuple(row["target"]) == wanted.target
        assert tuple(row["latents"]) == wanted.latents
        assert tuple(digest.decode() for digest in row["texts"]) == wanted.texts
        np.testing.assert_array_equal(read_masks(row, masks), pair)
