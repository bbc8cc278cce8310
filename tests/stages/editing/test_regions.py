"""Which crops of a picture are edited."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.editing.regions import MAX_REGIONS, Box, crop_boxes
from tests.support.strategies import quick


def marked(size: tuple[int, int], *boxes: Box) -> np.ndarray:
    found = np.zeros(size[::-1], bool)
    for left, top, right, bottom in boxes:
        found[top:bottom, left:right] = True
    return found


@pytest.mark.parametrize(
    ("box", "side", "context", "crop"),
    [
        ((500, 400, 600, 460), 64, 0.5, (450, 330, 650, 530)),
        ((500, 400, 600, 460), 64, 1.0, (400, 280, 700, 580)),
        ((500, 400, 510, 404), 64, 0.5, (473, 370, 537, 434)),  # not enlarged more than the model's size asks for
        ((0, 0, 100, 100), 64, 0.5, (0, 0, 200, 200)),  # moved into the picture
        ((1150, 850, 1200, 900), 64, 0.5, (1100, 800, 1200, 900)),
        ((100, 100, 700, 200), 64, 0.5, (0, 0, 1200, 900)),  # as wide as the picture: all of it
        ((200, 100, 700, 200), 64, 0.5, (0, 0, 1000, 900)),
    ],
)
def test_a_crop_is_a_square_around_the_mask(box, side, context, crop):
    assert crop_boxes(marked((1200, 900), box), side, context) == [crop]


def test_places_far_apart_have_crops_of_their_own():
    found = crop_boxes(marked((1200, 900), (100, 100, 180, 180), (900, 600, 960, 700)), 64, 0.5)
    assert sorted(found) == [(60, 60, 220, 220), (830, 550, 1030, 750)]


def test_places_whose_crops_overlap_share_one():
    assert crop_boxes(marked((1200, 900), (100, 100, 180, 180), (200, 100, 280, 180)), 64, 0.5) == [(10, 0, 370, 360)]


def test_scattered_places_share_a_crop():
    scattered = [(200 * n, 150 * n, 200 * n + 4, 150 * n + 4) for n in range(MAX_REGIONS + 1)]
    assert len(crop_boxes(marked((1200, 900), *scattered), 64, 0.5)) == 1
    noise = np.random.default_rng(0).random((900, 1200)) > 0.999
    assert len(crop_boxes(noise, 16, 0.5)) == 1


@quick
@given(st.data())
def test_every_marked_pixel_lies_in_one_crop(data):
    width, height = data.draw(st.tuples(st.integers(8, 60), st.integers(8, 60)))
    mask = np.zeros((height, width), bool)
    for x, y in data.draw(st.lists(st.tuples(st.integers(0, width - 1), st.integers(0, height - 1)), min_size=1, max_size=8)):
        mask[y, x] = True
    crops = crop_boxes(mask, 8, data.draw(st.sampled_from([0.25, 0.5, 2.0])))
    times = np.zeros((height, width), int)
    for left, top, right, bottom in crops:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        times[top:bottom, left:right] += 1
    assert (times[mask] == 1).all()
    assert times.max() == 1
