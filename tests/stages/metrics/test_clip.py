"""Metrics by CLIP against torchmetrics and against their formulas."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional
from torchmetrics.functional.multimodal.clip_score import _clip_score_update

from stages.metrics import clip
from tests.support.metric_inputs import features, unit


def test_clip_score_is_two_and_a_half_positive_cosines():
    up = torch.tensor([[1.0, 0.0]])
    for angle, expected in ((0, 250), (np.pi / 3, 125), (np.pi, 0)):
        text = torch.tensor([[np.cos(angle), np.sin(angle)]], dtype=torch.float32)
        assert clip.clip_score(up, text).item() == pytest.approx(expected, abs=1e-4)


class GivenFeatures(torch.nn.Module):
    """A CLIP, and its processor, in the form torchmetrics asks for, whose features are given beforehand."""

    def __init__(self, pictures, texts):
        super().__init__()
        self.pictures, self.texts = pictures, texts
        self.config = SimpleNamespace()

    def forward(self, **asked):
        tokens = torch.ones(len(self.texts), 3, dtype=torch.long)
        return (
            {"pixel_values": torch.stack(asked["images"])}
            if "images" in asked
            else {
                "input_ids": tokens,
                "attention_mask": tokens,
            }
        )

    def get_image_features(self, _pixels):
        return self.pictures

    def get_text_features(self, _tokens, _mask):
        return self.texts


def test_clip_score_is_torchmetrics_times_the_papers_weight():
    found, alone = features(9, 16), features(9, 16, 1) * 3
    alone[:3] = -found[:3]
    model = GivenFeatures(found, alone)
    score, count = _clip_score_update(list(torch.rand(9, 3, 8, 8)), ["words"] * 9, model, model)
    ours = clip.clip_score(functional.normalize(found), functional.normalize(alone))
    assert count == 9
    torch.testing.assert_close(ours, 2.5 * score.clamp(min=0))  # Hessel et al. 2021: w = 2.5; torchmetrics has w = 1
    assert ours[:3].tolist() == [0, 0, 0]


def test_directional_similarity_is_undefined_without_change():
    sources, edits, captions, prompts = (unit(3, 8, seed) for seed in range(4))
    edits[1], prompts[2] = sources[1], captions[2]
    result = clip.directional_similarity(sources, edits, captions, prompts)
    moved, described = edits[0] - sources[0], prompts[0] - captions[0]
    assert result[0].item() == pytest.approx(100 * (moved @ described / moved.norm() / described.norm()).item(), abs=1e-3)
    assert result[1:].isnan().all()


def test_edit_success_needs_the_strictly_first_rank():
    terms = torch.eye(3)
    shown = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0.7, 0.7, 0]])
    assert clip.edit_success(shown, [terms] * 3, [0, 0, 0]).tolist() == [100, 0, 0]
    assert clip.edit_success(shown[:1], [terms[:1]], [0]).isnan().all()


def test_crops_are_squares_inside_the_picture():
    picture = torch.zeros(3, 3, 40, 40)
    mask = torch.zeros(3, 1, 40, 40)
    mask[0, :, 10:20, 10:14] = 1
    mask[1, :, :4, 36:] = 1
    mask[2] = 1
    crops = clip.crop_regions(picture + mask, mask, 15, 0.25)
    assert crops.shape == (3, 3, 15, 15)
    assert crops[0, 0].mean().item() == pytest.approx(40 / 225, abs=1e-3)  # a square of 15 around a box of 10 x 4
    assert crops[1, 0, 0, -1] == 1
    assert crops[2].min() > 1 - 1e-5
