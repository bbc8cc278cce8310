"""Masks at the size of pictures and of latents."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.morphology import dilation, footprint_rectangle

from stages.diffusion.masks import shrink_mask, widen_mask
from tests.support.strategies import as_tensor, masks, masks_of_any_size, quick, sides


def test_masks_shrink_by_area():
    mask = torch.zeros(1, 1, 4, 4)
    mask[0, 0, 0, 0] = mask[0, 0, 0, 2] = mask[0, 0, 1, 3] = 1
    assert shrink_mask(mask, (2, 2), 0.25).tolist() == [[[[1, 1], [0, 0]]]]
    assert shrink_mask(mask, (2, 2), 0.5).tolist() == [[[[0, 1], [0, 0]]]]


@pytest.mark.parametrize(("margin", "reach"), [(0.0, 0), (0.05, 1), (0.1, 2), (0.5, 10)])
def test_masks_widen_by_a_share_of_their_shorter_side(margin, reach):
    mask = (torch.rand(2, 1, 20, 30, generator=torch.Generator().manual_seed(0)) > 0.97).float()
    wanted = [dilation(each[0].numpy(), footprint_rectangle((2 * reach + 1,) * 2)) for each in mask]
    np.testing.assert_array_equal(widen_mask(mask, margin)[:, 0].numpy(), np.stack(wanted))


@quick
@given(factor=st.integers(1, 4), height=sides, width=sides, threshold=st.sampled_from([0.25, 0.5, 1.0]), data=st.data())
def test_latent_mask_thresholds_the_covered_share(factor, height, width, threshold, data):
    mask = data.draw(masks(height * factor, width * factor))
    shrunk = shrink_mask(as_tensor(mask), (height, width), threshold)
    covered = mask.reshape(height, factor, width, factor).mean(axis=(1, 3))
    assert shrunk.shape == (1, 1, height, width)
    np.testing.assert_array_equal(shrunk[0, 0].numpy(), covered >= threshold)


@quick
@given(mask=masks_of_any_size(), height=sides, width=sides, data=st.data())
def test_shrunk_mask_is_monotone_and_keeps_empty_and_full(mask, height, width, data):
    less = mask & data.draw(masks(*mask.shape))
    shrunk, smaller = (shrink_mask(as_tensor(each), (height, width), 0.5) for each in (mask, less))
    assert set(shrunk.unique().tolist()) <= {0, 1}
    assert (smaller <= shrunk).all()
    if not mask.any():
        assert not shrunk.any()
    if mask.all():
        assert shrunk.all()
