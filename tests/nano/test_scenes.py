"""Scenes are drawn at their full size, and reduced for the models that see less of them."""

import numpy as np
import pytest
import torch
from PIL import Image

import nano.scenes
from nano.scenes import draw, load_scenes
from nano.settings import read_settings
from stages.corpus import world
from stages.corpus.drawing import render

SIZES = {"size": 32, "reduced_size": 16}
SCENES = [world.draw_scene(1, "train", index) for index in range(6)]


def test_reduced_pictures_are_the_full_ones_as_pillow_reduces_them():
    drawn = draw(SCENES, 32, 16)
    for row, scene in enumerate(SCENES):
        picture, mask = render(scene, 32)
        assert np.array_equal(drawn["pictures_32"][row].permute(1, 2, 0), picture)
        assert np.array_equal(drawn["masks_32"][row] * 255, mask)
        assert np.array_equal(drawn["pictures_16"][row].permute(1, 2, 0), picture.resize((16, 16), Image.Resampling.BICUBIC))


def test_reduced_masks_hold_pixels_that_are_half_covered():
    drawn = draw(SCENES, 32, 16)
    covered = torch.nn.functional.avg_pool2d(drawn["masks_32"].float().unsqueeze(1), 2).squeeze(1)
    assert torch.equal(drawn["masks_16"], (covered >= 0.5).byte())


@pytest.mark.parametrize("size", SIZES.values())
def test_scenes_are_loaded_at_either_size(tmp_path, monkeypatch, size):
    monkeypatch.setattr(nano.scenes, "BUILD", tmp_path)
    settings = read_settings() | SIZES | {"scenes": {"held_out": 3}}
    monkeypatch.setattr(nano.scenes, "read_settings", lambda: settings)
    nano.scenes.main()
    scenes = load_scenes("held_out", size)
    assert scenes.pictures(torch.arange(3)).shape == (3, 3, size, size)
    assert scenes.masks(torch.tensor([2])).shape == (1, size, size)
    assert scenes.captions == [world.draw_scene(settings["seed"] + 1, "held_out", index).caption for index in range(3)]
