"""Masks at the size of pictures and of latents."""

import numpy as np
import pytest
import torch
from skimage.morphology import dilation, footprint_rectangle

from stages.diffusion.masks import shrink_mask, widen_mask


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
