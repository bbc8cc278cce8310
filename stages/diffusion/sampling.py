"""SDEdit (Meng et al. 2022) with classifier-free guidance, and the paper's masked variant (Eq 13)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from stages.common.seeds import derive_seed
from stages.core.params import Solver
from stages.diffusion.guidance import PredictNoise, with_guidance
from stages.diffusion.noise import alpha_at, predict_clean
from stages.models.conditioning import Conditioning

Scheduler: TypeAlias = DDIMScheduler | DPMSolverMultistepScheduler


@dataclass(frozen=True)
class Step:
    """A denoising step that was just done."""

    number: int  # from 1
    of: int
    estimate: Callable[[], Tensor]  # returns the edited latents as this step predicts them, (n, c, h, w), by Eq 7


OnStep: TypeAlias = Callable[[Step], object]


def ignore_step(_: Step) -> None:
    """Do nothing after a step."""


def make_scheduler(solver: Solver, model: DDIMScheduler, prediction: str = "epsilon") -> Scheduler:
    """Return a scheduler for a solver, with the model's noise schedule.

    DDIM uses the model's own timestep spacing. DPM-Solver++, which is run with few steps, uses "trailing" spacing, counted
    back from the last timestep, T - 1, as Lin et al. (2024, "Common diffusion noise schedules and sample steps are flawed")
    advise: the other spacings of diffusers begin far below T - 1, where the model has never seen pure noise.

    Args:
        solver: the solver.
        model: the model's own scheduler.
        prediction: what the steps are given: the noise (epsilon), as in the paper's equations, or a velocity (v_prediction).
    """
    if solver == "ddim":
        return DDIMScheduler.from_config(model.config, prediction_type=prediction)
    spaced = {"timestep_spacing": "trailing", "algorithm_type": solver, "solver_order": 2, "prediction_type": prediction}
    return DPMSolverMultistepScheduler.from_config(model.config, **spaced)


def start_schedule(scheduler: Scheduler, steps: int, strength: float, device: torch.device) -> Tensor:
    """Reset a scheduler, and return the timesteps of the share of its schedule that is run, the noisiest first.

    As in diffusers' img2img these are the last ``int(steps * strength)``.

    Args:
        scheduler: its state is reset.
        steps: the number of steps in the whole schedule.
        strength: the share of the schedule that is run, in [0, 1].
        device: where the timesteps lie.

    Raises:
        ValueError: no step is left to do.
    """
    scheduler.set_timesteps(steps, device=device)
    count = min(int(steps * strength), steps)
    if count == 0:
        raise ValueError(f"strength {strength} with {steps} steps leaves no step to do: the result would be the source")
    timesteps: Tensor = scheduler.timesteps[steps - count :]
    return timesteps


def edit_latents(
    predict_noise: PredictNoise,
    scheduler: Scheduler,
    source: Tensor,
    noise: Tensor,
    prompt: Conditioning,
    empty_prompt: Conditioning,
    *,
    steps: int,
    strength: float,
    guidance_scale: float,
    mask: Tensor | None = None,
    from_noise: bool = False,
    on_step: OnStep = ignore_step,
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
        prompt: n prompts.
        empty_prompt: what guidance leads away from, usually the empty prompt; 1 or n.
        steps: the number of steps in the whole schedule; ``int(steps * strength)`` of them are run.
        strength: the share of the schedule that is run, in (0, 1].
        guidance_scale: the scale of classifier-free guidance; 1 is no guidance.
        mask: M, (n, 1, h, w), 1 where the edit is.
        from_noise: start from the noise alone, as diffusers' ``StableDiffusionInpaintPipeline`` does at strength 1. Even at
            the first timestep, a noised source still shows its colours.
        on_step: called after every step; an error that it raises ends the edit.

    Raises:
        ValueError: no step is left to do.
    """
    timesteps = start_schedule(scheduler, steps, strength, source.device)
    if isinstance(scheduler, DPMSolverMultistepScheduler):
        scheduler.set_begin_index(steps - len(timesteps))
    predict = with_guidance(predict_noise, prompt, empty_prompt, guidance_scale)
    latents = noise if from_noise else scheduler.add_noise(source, noise, timesteps[:1])
    for index, timestep in enumerate(timesteps):
        noisy, predicted = latents, predict(latents, timestep)
        latents = scheduler.step(predicted, timestep, noisy).prev_sample
        if mask is not None:
            is_last = index + 1 == len(timesteps)
            kept = source if is_last else scheduler.add_noise(source, noise, timesteps[index + 1 : index + 2])
            latents = _blend(latents, kept, mask)
        alpha = alpha_at(scheduler.alphas_cumprod, timestep.view(1).cpu()).to(source)
        on_step(Step(index + 1, len(timesteps), partial(_estimate, noisy, predicted, alpha, source, mask)))
    return latents


def _estimate(noisy: Tensor, predicted: Tensor, alpha: Tensor, source: Tensor, mask: Tensor | None) -> Tensor:
    clean = predict_clean(noisy, predicted, alpha)
    return clean if mask is None else _blend(clean, source, mask)


def _blend(edited: Tensor, kept: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask > 0, mask * edited + (1 - mask) * kept, kept)


def draw_noise(shape: torch.Size, seed: int, *key: str | int) -> Tensor:
    """Return standard normal noise that depends only on the seed and the key; drawn on the CPU, whatever the device."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "noise", *key))
    return torch.randn(shape, generator=generator)
