"""DDIM inversion, beside diffusers' inverse scheduler."""

import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler

from stages.diffusion.inversion import invert_latents

SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
STABLE = SCHEDULE | {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}


def latents(seed: int) -> torch.Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def noise_of(values: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """A smooth stand-in for a network, which depends on both."""
    return torch.sin(values + timestep / 300)


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_latents_are_those_of_diffusers_inverse_scheduler(strength):
    steps = 10
    timesteps, found = invert_latents(noise_of, DDIMScheduler(**STABLE), latents(1), steps=steps, strength=strength)
    inverse = DDIMInverseScheduler(**STABLE)
    inverse.set_timesteps(steps)
    expected, count = latents(1), int(steps * strength)
    for timestep in inverse.timesteps[:count]:
        predicted = noise_of(expected, timestep)
        expected = inverse.step(predicted, timestep, expected).prev_sample
    assert (len(timesteps), len(found)) == (count, count + 1)
    assert torch.equal(found[-1], latents(1))
    torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=1e-5)


def test_a_network_that_ignores_its_input_is_inverted_exactly():
    fixed, scheduler = latents(3), DDIMScheduler(**STABLE)
    timesteps, found = invert_latents(lambda *_: fixed, scheduler, latents(1), steps=8, strength=1.0)
    drawn = found[0]
    for timestep in timesteps:
        drawn = scheduler.step(fixed, timestep, drawn).prev_sample
    torch.testing.assert_close(drawn, latents(1), atol=1e-4, rtol=1e-4)


def test_no_step_is_an_error():
    with pytest.raises(ValueError, match=r"strength 0.05 with 10 steps leaves no step to do"):
        invert_latents(noise_of, DDIMScheduler(**STABLE), latents(1), steps=10, strength=0.05)
