"""Rows of the training set: what is written comes back, and what is damaged is one line."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from PIL import Image
from scipy.ndimage import gaussian_filter

from stages.core.errors import InputError
from stages.corpus.corpus import Corpus
from stages.corpus.shard import pixel_digest
from stages.pairing.training_set import (
    PairRow,
    edit_sample,
    pack_mask,
    read_pairs,
    unpack_mask,
    unpacked_bits,
    write_pairs,
)
from tests.support.corpora import located
from tests.support.strategies import masks_of_any_size, quick
from tests.support.tiny_corpus import image, key_for, write_tiny_corpus


def pair(source: int = 0, target: int = 1, **changes: object) -> PairRow:
    mask = np.zeros((32, 32), bool)
    mask[3:21, 2:13] = True
    words = ("caption", "edit_prompt", "source_term", "target_term", "relation", "source_diff", "target_diff")
    scores = ("query", "image_image", "text_image", "text_source", "directional")
    row = PairRow(
        key=key_for(source),
        target_key=key_for(target),
        **{name: f"a {name}" for name in words},
        **dict.fromkeys(scores, 0.5),
        target_alt_text="IMG",
        source_pixels=pixel_digest(image(source)),
        target_pixels=pixel_digest(image(target)),
        width=32,
        height=32,
        source_offset=0,
        source_length=0,
        target_offset=0,
        target_length=0,
        packed_source_mask=pack_mask(mask),
        packed_target_mask=pack_mask(mask.T),
        source_mask_area=mask.mean(),
        target_mask_area=mask.mean(),
        target_png=b"",
    )
    return replace(row, **changes)


@quick
@given(masks_of_any_size())
def test_masks_come_back_from_their_bits(mask):
    height, width = mask.shape
    bits = unpacked_bits(pack_mask(mask), width, height)
    assert len(bits) == -(-mask.size // 8)
    np.testing.assert_array_equal(unpack_mask(bits, width, height), mask)


def test_rows_come_back_in_order(tmp_path):
    rows = [pair(), pair(2, 3, target_png=b"png")]
    write_pairs(tmp_path / "a.parquet", rows)
    assert read_pairs(tmp_path / "a.parquet") == rows
    write_pairs(tmp_path / "a.parquet", [])
    assert read_pairs(tmp_path / "a.parquet") == []


def test_a_sample_has_the_pictures_of_the_corpus(workplace):
    write_tiny_corpus(range(4))
    sample = edit_sample(located(pair(2, 3), Corpus().rows("00000")), Corpus())
    assert (sample.source.tobytes(), sample.target.tobytes()) == (image(2).tobytes(), image(3).tobytes())
    source_mask, target_mask = np.asarray(sample.source_mask), np.asarray(sample.target_mask)
    assert set(np.unique(source_mask)) == {0, 255}
    assert (source_mask[3:21, 2:13] == 255).all()
    np.testing.assert_array_equal(source_mask, target_mask.T)


def test_a_rendered_target_is_in_the_row(workplace):
    write_tiny_corpus(range(2))
    buffer = io.BytesIO()
    image(9).save(buffer, "png")
    sample = edit_sample(located(pair(target_png=buffer.getvalue()), Corpus().rows("00000")), Corpus())
    assert sample.target.tobytes() == image(9).tobytes()


def test_words_from_outside_stay_on_one_line(tmp_path):
    write_pairs(tmp_path / "a.parquet", [pair(target_alt_text="two\nlines \x1b[31m")])
    assert read_pairs(tmp_path / "a.parquet")[0].target_alt_text == "two lines"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"packed_source_mask": b"x"}, "pair 000000000: a mask is damaged, or not of 32 × 32 pixels"),
        ({"packed_target_mask": pack_mask(np.ones((8, 8), bool))}, "pair 000000000: a mask is damaged"),
        ({"width": 16}, r"00000\.tar: sample 000000000: a picture is RGB of \(32, 32\) pixels, must be RGB of \(16, 32\)"),
        ({"source_offset": 7}, r"00000\.tar: sample 000000000: truncated or damaged image; run the stages from ingest on"),
        ({"target_length": -1}, r"00000\.tar: sample 000000001: "),
        ({"target_png": b"x"}, "the true target of 000000000 is damaged"),
        ({"target_key": "elsewhere"}, r"corpus/elsew\.tar: No such file or directory"),
        ({"target_key": "../00000"}, "the corpus has no image '../00000'"),
    ],
)
def test_damaged_rows_are_refused(workplace, changes, complaint):
    write_tiny_corpus(range(2))
    write_pairs(Path("a.parquet"), [replace(located(pair(), Corpus().rows("00000")), **changes)])
    with pytest.raises(InputError, match=complaint):
        edit_sample(read_pairs(Path("a.parquet"))[0], Corpus())


@pytest.mark.parametrize("width", [0, -1, 1 << 30])
def test_impossible_sizes_are_refused(tmp_path, width):
    write_pairs(tmp_path / "a.parquet", [pair(width=width)])
    with pytest.raises(InputError, match=r"a\.parquet: pair 000000000: "):
        read_pairs(tmp_path / "a.parquet")


def test_a_pair_takes_at_most_five_kilobytes(tmp_path):
    """Masks like CLIPSeg's at 384 pixels: smooth blobs, drawn at 352 and enlarged."""
    rng, rows = np.random.default_rng(0), []
    for number in range(20):
        packed = []
        for _ in range(2):
            y, x = np.mgrid[:352, :352] - rng.uniform(100, 250, (2, 1, 1))
            blob = np.exp(-(x**2 + y**2) / 2 / rng.uniform(40, 90) ** 2)
            rough = gaussian_filter(rng.normal(size=blob.shape), rng.uniform(8, 20))
            field = Image.fromarray((blob + 0.15 * rough / rough.std()).astype(np.float32))
            packed.append(pack_mask(np.asarray(field.resize((384, 384), Image.Resampling.BILINEAR)) >= 0.5))
        rows.append(pair(number, number, width=384, height=384, packed_source_mask=packed[0], packed_target_mask=packed[1]))
    write_pairs(tmp_path / "a.parquet", rows)
    assert (tmp_path / "a.parquet").stat().st_size / len(rows) < 5_000
