"""Seams: how an edit fades into a photograph, and takes on its colours."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from stages.editing.blending import enlarge, feather, match_colours, paste
from tests.support.editing_inputs import photo


def spots(width: int = 90, height: int = 70) -> Image.Image:
    """A mask of a block, a thin line, a single pixel and a corner of the picture."""
    marked = np.zeros((height, width), np.uint8)
    marked[20:40, 30:60] = 255
    marked[55, 10:80] = 255
    marked[5, 5] = 255
    marked[:3, -3:] = 255
    return Image.fromarray(marked)


@pytest.mark.parametrize("reach", [0, 1, 2, 3, 7, 16, 40])
def test_a_seam_lies_around_the_mask_within_its_reach(reach):
    marked, found = np.asarray(spots()) > 0, np.asarray(feather(spots(), reach))
    assert (found[marked] == 255).all()
    distance = ndimage.distance_transform_cdt(~marked, metric="chessboard")
    assert (found[distance > reach] == 0).all()
    if reach > 3:
        assert np.unique(found).size > 10


def test_a_seam_has_no_hard_edge():
    slope = np.asarray(feather(spots(), 16), int)[30, :30]
    assert np.abs(np.diff(slope)).max() < 255 / 4
    assert (np.diff(slope) >= 0).all()


def test_an_enlarged_mask_is_black_and_white():
    assert set(np.unique(np.asarray(enlarge(spots(), (413, 333))))) == {0, 255}


def test_colours_around_the_mask_are_those_of_the_picture():
    """A picture with a slope of brightness, whose edit is darker by a tenth everywhere."""
    source = torch.linspace(0.3, 0.7, 64).expand(1, 3, 64, 64)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 24:40, 24:40] = 1
    found = match_colours(source - 0.1, source, mask, 4)
    torch.testing.assert_close(found, source, atol=1e-4, rtol=0)


def test_what_is_edited_does_not_decide_its_colours():
    source, mask = torch.full((1, 3, 64, 64), 0.5), torch.zeros(1, 1, 64, 64)
    mask[..., 24:40, 24:40] = 1
    edit = torch.where(mask > 0, torch.tensor(0.9), source)
    torch.testing.assert_close(match_colours(edit, source, mask, 4), edit)
    everywhere = torch.ones_like(mask)
    assert torch.equal(match_colours(edit, source, everywhere, 4), edit)


@pytest.mark.parametrize("alpha", [None, 0, 100, 255])
def test_pixels_that_take_nothing_keep_their_bytes(alpha):
    picture = photo(90, 70)
    if alpha is not None:
        picture.putalpha(alpha)
    amount, edit = feather(spots(), 8), photo(90, 70, seed=1)
    pasted = Image.new(picture.mode, (120, 100))
    pasted.paste(picture, (20, 10))
    before = np.asarray(pasted)
    paste(pasted, edit, amount, (20, 10))
    taken, after = np.pad(np.asarray(amount), ((10, 20), (20, 10))), np.asarray(pasted)
    assert np.array_equal(after[taken == 0], before[taken == 0])
    assert np.array_equal(after[taken == 255][:, :3], np.asarray(edit)[np.asarray(amount) == 255])
    assert alpha is None or (after[taken == 255][:, 3] == 255).all()
