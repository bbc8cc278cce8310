"""SDEdit (Meng et al. 2022) with classifier-free guidance, and the paper's masked variant (Eq 13)."""

from typing import TypeAlias

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from stages.common.seeds import derive_seed
from stages.core.params import Solver
from stages.diffusion.guidance import PredictNoise, with_guidance

Scheduler: TypeAlias = DDIMScheduler | DPMSolverMultistepScheduler


def make_scheduler(solver: Solver, model: DDIMScheduler) -> Scheduler:
    """Return a scheduler for a solver, with the model's noise schedule.

    DDIM uses the model's own timestep spacing. DPM-Solver++, which is run with few steps, uses "trailing" spacing, counted
    back from the last timestep, T - 1, as Lin et al. (2024, "Common diffusion noise schedules and sample steps are flawed")
    advise: the other spacings of diffusers begin far below T - 1, where the model has never seen pure noise.
    """
    if solver == "ddim":
        return DDIMScheduler.from_config(model.config)
    spaced = {"timestep_spacing": "trailing", "algorithm_type": solver, "solver_order": 2}
    return DPMSolverMultistepScheduler.from_config(model.config, **spaced)


def edit_latents(
    predict_noise: PredictNoise,
    scheduler: Scheduler,
    source: Tensor,
    noise: Tensor,
    prompt: Tensor,
    empty_prompt: Tensor,
    *,
    steps: int,
    strength: float,
    guidance_scale: float,
    mask: Tensor | None = None,
    from_noise: bool = False,
) -> Tensor:
    """Return edited latents, (n, c, h, w): SDEdit, and with a mask Eq 13: z̃_t = M̄ ⊙ z_t + M ⊙ z̃_t after each step.

    The source is noised to the timestep that ``strength`` names and denoised without further noise, as diffusers'
    ``StableDiffusionImg2ImgPipeline`` does. Outside the mask, z_t is the source noised to the *next* timestep with the *same*
    noise, and after the last step the clean source. So a mask of zeros returns the source exactly, and a mask of ones is
    plain SDEdit.

    Args:
        predict_noise: ε_θ, the U-Net.
        scheduler: made by :func:`make_scheduler`; its state is reset.
        source: z₁, (n, c, h, w).
        noise: ε, (n, c, h, w).
        prompt: text embeddings, (n, context, d).
        empty_prompt: text embedding of the empty prompt, (1, context, d).
        steps: the number of steps in the whole schedule; ``int(steps * strength)`` of them are run.
        strength: the share of the schedule that is run, in (0, 1].
        guidance_scale: the scale of classifier-free guidance; 1 is no guidance.
        mask: M, (n, 1, h, w), 1 where the edit is.
        from_noise: start from the noise alone, as diffusers' ``StableDiffusionInpaintPipeline`` does at strength 1. Even at
            the first timestep, a noised source still shows its colours.

    Raises:
        ValueError: no step is left to do.
    """
    scheduler.set_timesteps(steps, device=source.device)
    count = min(int(steps * strength), steps)
    if count == 0:
        raise ValueError(f"strength {strength} with {steps} steps leaves no step to do: the result would be the source")
    if isinstance(scheduler, DPMSolverMultistepScheduler):
        scheduler.set_begin_index(steps - count)
    timesteps = scheduler.timesteps[steps - count :]
    predict = with_guidance(predict_noise, prompt, empty_prompt, guidance_scale)
    latents = noise if from_noise else scheduler.add_noise(source, noise, timesteps[:1])
    for index, timestep in enumerate(timesteps):
        latents = scheduler.step(predict(latents, timestep), timestep, latents).prev_sample
        if mask is not None:
            is_last = index + 1 == count
            kept = source if is_last else scheduler.add_noise(source, noise, timesteps[index + 1 : index + 2])
            latents = torch.where(mask > 0, mask * latents + (1 - mask) * kept, kept)
    return latents


def draw_noise(shape: torch.Size, seed: int, *key: str | int) -> Tensor:
    """Return standard normal noise that depends only on the seed and the key; drawn on the CPU, whatever the device."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "noise", *key))
    return torch.randn(shape, generator=generator)
