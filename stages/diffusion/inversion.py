"""DDIM inversion (Song et al. 2021, section 4.3): the noisy latents from which DDIM would draw a picture."""

from collections.abc import Callable

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from stages.diffusion.noise import add_noise, predict_clean
from stages.diffusion.sampling import start_schedule


def invert_latents(
    predict: Callable[[Tensor, Tensor], Tensor], scheduler: DDIMScheduler, source: Tensor, *, steps: int, strength: float
) -> tuple[Tensor, list[Tensor]]:
    """Return the timesteps that denoise a picture again, and its latents before each of them and after the last.

    DDIM's step is run backwards: the noise that it would remove on the way from t to the timestep before is predicted at t, but
    from the latents of the timestep before, as all implementations do.

    Args:
        predict: (latents, timestep) → predicted noise.
        scheduler: its state is reset.
        source: z₁, (n, c, h, w).
        steps: the number of steps in the whole schedule; ``int(steps * strength)`` of them are run.
        strength: the share of the schedule that is run, in (0, 1].

    Returns:
        k timesteps, the noisiest first, and k + 1 latents, (n, c, h, w) each; the last ones are ``source``.

    Raises:
        ValueError: no step is left to do.
    """
    timesteps = start_schedule(scheduler, steps, strength, source.device)
    alpha_before, latents = torch.as_tensor(scheduler.final_alpha_cumprod), source
    trajectory = [source]
    for timestep in timesteps.flip(0):
        alpha = scheduler.alphas_cumprod[int(timestep)]
        noise = predict(latents, timestep)
        latents = add_noise(predict_clean(latents, noise, alpha_before), noise, alpha)
        trajectory.append(latents)
        alpha_before = alpha
    return timesteps, trajectory[::-1]
