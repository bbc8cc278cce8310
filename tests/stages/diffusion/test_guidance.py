"""Classifier-free guidance and the guided target, against the formulas in float64."""

import numpy as np
import pytest
import torch

from stages.diffusion.guidance import guide, guided_noise, with_guidance
from stages.models.conditioning import Conditioning
from tests.support.equations import close, normal, tensor


@pytest.mark.parametrize("scale", [1.0, 3.0, 7.5])
def test_guidance_moves_from_empty_prompt_towards_prompt(scale):
    without, conditional = normal(1), normal(2)
    close(guide(tensor(without), tensor(conditional), scale), without + scale * (conditional - without))


def test_guided_target_scale_falls_from_full_to_one():
    without, conditional, time = normal(1), normal(2), np.array([0.001, 0.5, 1.0])
    scale = (1 + 5 * time).reshape(-1, 1, 1, 1)
    found = guided_noise(tensor(without), tensor(conditional), tensor(time), 6.0)
    close(found, without + scale * (conditional - without))
    close(found[2], without[2] + 6 * (conditional[2] - without[2]))


@pytest.mark.parametrize(("scale", "rows"), [(1.0, [3]), (2.0, [6])])
def test_without_guidance_the_empty_prompt_is_not_evaluated(scale, rows):
    prompt, empty, latents = tensor(normal(1, 3, 7, 5)), tensor(normal(2, 1, 7, 5)), tensor(normal(3))
    asked = []

    def predict_noise(noisy, timestep, prompts):
        asked.append(len(noisy))
        assert len(prompts) == len(noisy)
        return noisy * prompts.text.mean(dim=(1, 2)).view(-1, 1, 1, 1)

    found = with_guidance(predict_noise, Conditioning(prompt), Conditioning(empty), scale)(latents, torch.tensor(1))
    assert asked == rows
    mean, none = prompt.double().mean(dim=(1, 2)).view(-1, 1, 1, 1), empty.double().mean()
    close(found, (latents.double() * (none + scale * (mean - none))).numpy(), 1e-4)
