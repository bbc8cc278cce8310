"""Overlays of masks on pictures."""

import numpy as np
from hypothesis import given
from PIL import Image

from stages.report.pictures import TINT, overlay
from tests.support.results import case
from tests.support.strategies import masks_of_any_size, quick


@quick
@given(mask=masks_of_any_size())
def test_overlay_changes_nothing_outside_the_mask(mask):
    picture = np.full((*mask.shape, 3), 40, dtype=np.uint8)
    shown = np.asarray(overlay(Image.fromarray(picture), Image.fromarray(mask.astype(np.uint8) * 255)))
    assert (shown[~mask] == 40).all()
    tinted = np.abs(shown[mask].astype(int) - TINT).sum(axis=1)
    assert (tinted < np.abs(np.array([40, 40, 40]) - TINT).sum()).all()


def test_overlay_tints_every_pixel_of_the_mask_and_no_other():
    one = case(0)
    before, after = np.asarray(one.source), np.asarray(overlay(one.source, one.source_mask))
    inside = np.asarray(one.source_mask) > 0
    assert (before[~inside] == after[~inside]).all()
    assert (before[inside] != after[inside]).any(axis=1).all()
