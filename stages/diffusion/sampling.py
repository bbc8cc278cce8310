"""SDEdit (Meng et al. 2022) with classifier-free guidance, and the paper's masked variant (Eq 13)."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from stages.common.seeds import derive_seed
from stages.core.params import Solver

PredictNoise = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(latents, timestep, text embeddings) → predicted noise."""
Scheduler: TypeAlias = DDIMScheduler | DPMSolverMultistepScheduler


def make_scheduler(solver: Solver, model: DDIMScheduler) -> Scheduler:
    """Return a scheduler that solves as asked, with a model's noise schedule.

    DDIM has the model's own timesteps. Those of DPM-Solver++ are spaced back from the last, T - 1, as Lin et al. (2024,
    "Common diffusion noise schedules and sample steps are flawed") advise where they are few: other spacings of diffusers
    begin far below it, where a state of pure noise is none that the model knows.
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
    """Return edited latents (n, c, h, w).

    The source is noised to the timestep that ``strength`` names and denoised without further noise, as diffusers'
    ``StableDiffusionImg2ImgPipeline`` does. With a mask, after each step what lies outside of it is replaced by the
    source with the *same* noise at the *next* timestep (Eq 13), and after the last step by the clean source: a mask of
    zeros returns the source exactly, a mask of ones is plain SDEdit.

    Args:
        predict_noise: the U-Net.
        scheduler: of :func:`make_scheduler`; its state is reset.
        source: z1, (n, c, h, w).
        noise: e, (n, c, h, w).
        prompt: text embeddings, (n, context, d).
        empty_prompt: text embedding of the empty prompt, (1, context, d).
        steps: of the whole schedule; ``int(steps * strength)`` of them are done.
        strength: in (0, 1].
        guidance_scale: 1 is no guidance.
        mask: (n, 1, h, w), 1 where the edit is.
        from_noise: start from the noise alone, as diffusers' ``StableDiffusionInpaintPipeline`` does at strength 1: even at
            the first timestep a noised source would still give away its colours.

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
    guided = guidance_scale > 1
    embeddings = torch.cat([empty_prompt.expand_as(prompt), prompt]) if guided else prompt
    latents = noise if from_noise else scheduler.add_noise(source, noise, timesteps[:1])
    for index, timestep in enumerate(timesteps):
        if guided:
            unconditional, conditional = predict_noise(torch.cat([latents, latents]), timestep, embeddings).chunk(2)
            predicted = unconditional + guidance_scale * (conditional - unconditional)
        else:
            predicted = predict_noise(latents, timestep, embeddings)
        latents = scheduler.step(predicted, timestep, latents).prev_sample
        if mask is not None:
            is_last = index + 1 == count
            kept = source if is_last else scheduler.add_noise(source, noise, timesteps[index + 1 : index + 2])
            latents = torch.where(mask > 0, mask * latents + (1 - mask) * kept, kept)
    return latents


def draw_noise(shape: torch.Size, seed: int, *key: str | int) -> Tensor:
    """Return standard normal noise that depends on the seed and the key alone, drawn on the CPU for any device."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "noise", *key))
    return torch.randn(shape, generator=generator)
