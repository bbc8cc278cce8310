"""Crops around a mask, which CLIP scores locally."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.metrics.clip import crop_regions
from tests.support.strategies import as_tensor, masks, quick


@quick
@given(side=st.integers(2, 16), margin=st.floats(0, 2), data=st.data())
def test_crop_is_a_square_that_holds_the_mask(side, margin, data):
    mask = data.draw(masks(side, side))
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    longer = max(np.ptp(rows), np.ptp(columns)) + 1 if mask.any() else side
    expected = min(round(longer * (1 + 2 * margin)), side)  # the crop's own size, so nothing is resized
    places = torch.arange(side * side).reshape(side, side) / side**2
    pictures = torch.stack([as_tensor(mask)[0, 0], places, places])[None]
    crop = crop_regions(pictures, as_tensor(mask), expected, margin)
    assert crop.shape == (1, 3, expected, expected)
    assert crop[0, 0].sum() == mask.sum()
    first = round(crop[0, 1, 0, 0].item() * side**2)
    top, left = divmod(first, side)
    assert torch.equal(crop[0, 1], places[top : top + expected, left : left + expected])
