"""PIE-Bench's coding of masks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.benchmarks import run_length
from stages.core.errors import InputError


def by_definition(runs, height, width):
    """The loop that the format is defined by."""
    pixels = np.zeros(height * width)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        for place in range(min(length, height * width - start)):
            pixels[start + place] = 1
    return pixels.reshape(height, width).astype(bool)


@given(st.lists(st.tuples(st.integers(0, 34), st.integers(0, 60)), max_size=8))
def test_decoding_follows_the_definition(pairs):
    runs = [number for pair in pairs for number in pair]
    np.testing.assert_array_equal(run_length.decode(runs, 7, 5, "mask"), by_definition(runs, 5, 7))


@given(st.lists(st.booleans(), min_size=35, max_size=35))
def test_encoding_and_decoding_give_the_mask_back(pixels):
    mask = np.array(pixels).reshape(5, 7)
    runs = run_length.encode(mask)
    np.testing.assert_array_equal(run_length.decode(runs, 7, 5, "mask"), mask)
    assert all(type(number) is int for number in runs)
    assert all(length > 0 for length in runs[1::2])


@pytest.mark.parametrize("runs", [None, "1 2", [1], [1, -2], [1.0, 2], [True, 1], [[1, 2]], {"1": 2}])
def test_anything_but_pairs_of_numbers_is_refused(runs):
    with pytest.raises(InputError, match="a: mask: must be a list of pairs of whole numbers"):
        run_length.decode(runs, 7, 5, "a: mask")


def test_a_run_may_not_start_outside():
    with pytest.raises(InputError, match="a run starts at 35; the picture has 35 pixels"):
        run_length.decode([35, 1], 7, 5, "mask")


def test_a_run_of_any_length_ends_with_the_picture():
    assert run_length.decode([3, 10**30], 7, 5, "mask").sum() == 32


def test_border_is_set_and_the_rest_kept():
    mask = np.zeros((5, 7), bool)
    mask[2, 3] = True
    bordered = run_length.with_border(mask)
    assert bordered.sum() == 2 * 7 + 2 * 3 + 1
    assert not mask[0].any()
