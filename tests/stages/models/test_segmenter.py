"""CLIPSeg's masks: their bytes in any company, and how well they fit on pictures that are not square."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.core.params import ModelName
from stages.corpus import world
from stages.corpus.drawing import render
from stages.models.segmenter import Segmenter, load_segmenter, square_windows
from tests.support import ROOT
from tests.support.strategies import quick
from tests.support.tiny_corpus import image

SHORT = 64  # pixels
PICTURES = 24


@pytest.fixture(scope="module")
def nano() -> Segmenter:
    return load_segmenter(ModelName(name=str(ROOT / "nano/models/segmenter")))


def cut_scenes(width: int, height: int) -> list[tuple]:
    """(picture, true mask, phrase): scenes with their object anywhere in a cut of this size, smaller than its shorter side."""
    found, rng = [], np.random.default_rng(0)
    side, index = max(width, height, round(1.6 * SHORT)), 0
    while len(found) < PICTURES:
        scene, index = world.draw_scene(0, "test", index), index + 1
        picture, mask = render(scene, side)
        left, top, right, bottom = mask.getbbox()
        if not 0.3 * SHORT < max(right - left, bottom - top) < 0.85 * SHORT:
            continue
        x = int(rng.integers(max(0, right - width), min(left, side - width) + 1))
        y = int(rng.integers(max(0, bottom - height), min(top, side - height) + 1))
        box = (x, y, x + width, y + height)
        found.append((picture.crop(box), np.asarray(mask.crop(box)) > 0, scene.subject))
    return found


def fits(segmenter: Segmenter, scenes: list[tuple]) -> tuple[float, float]:
    """Mean intersection over union with the true masks: as CLIPSeg is shown the pictures, and squashed only."""
    pictures, masks, words = zip(*scenes, strict=True)
    height, width = masks[0].shape
    shown = segmenter.probabilities(pictures, words)
    squashed = segmenter.predict(segmenter.prepare(pictures, words), (height, width))
    found = ([each[0].numpy() >= 0.5 for each in probabilities] for probabilities in (shown, squashed))
    overlaps = ([(a & b).sum() / (a | b).sum() for a, b in zip(each, masks, strict=True)] for each in found)
    ours, theirs = (float(np.mean(each)) for each in overlaps)
    return ours, theirs


@pytest.mark.parametrize("tall", [False, True], ids=["wide", "tall"])
@pytest.mark.parametrize(
    "ratio", [4 / 3, pytest.param(3 / 2, marks=pytest.mark.exhaustive), 16 / 9, pytest.param(3, marks=pytest.mark.exhaustive)]
)
def test_masks_of_pictures_of_any_shape_fit(nano, ratio, tall):
    size = (SHORT, round(ratio * SHORT)) if tall else (round(ratio * SHORT), SHORT)
    ours, squashed = fits(nano, cut_scenes(*size))
    assert ours > 0.7
    assert ours > squashed - 0.02
    if ratio > 1.7:
        assert ours > squashed


def test_masks_of_square_pictures_are_those_of_the_network_alone(nano):
    ours, alone = fits(nano, cut_scenes(SHORT, SHORT))
    assert ours == alone > 0.7


def test_a_result_is_the_same_in_any_company(models, nano):
    """Within batches of one size, bit for bit, beside other pictures and longer prompts, and in any place."""
    scenes = [render(world.draw_scene(0, "test", number), SHORT)[0] for number in range(8)]
    for segmenter, pictures in ((load_segmenter(models.segmenter), [image(number) for number in range(8)]), (nano, scenes)):
        words = [f"a {'very ' * number}red dog" for number in range(8)]
        together = segmenter.probabilities(pictures, words)
        for number in range(8):
            order = [(number + step) % 8 for step in (1, 1, 1, 0, 2, 2, 2, 2)]
            apart = segmenter.probabilities([pictures[at] for at in order], [words[at] for at in order])
            assert torch.equal(apart[3], together[number])


@quick
@given(st.integers(1, 400), st.integers(1, 400))
def test_windows_are_squares_that_cover_and_overlap(width, height):
    windows = square_windows(width, height)
    side = min(width, height)
    assert all((right - left, bottom - top) == (side, side) for left, top, right, bottom in windows)
    assert windows[0][:2] == (0, 0)
    assert windows[-1][2:] == (width, height)
    steps = [max(later[0] - earlier[0], later[1] - earlier[1]) for earlier, later in pairwise(windows)]
    assert all(0 < step <= side / 4 + 1 for step in steps)
