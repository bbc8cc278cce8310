"""DiffEdit (Couairon et al. 2023): a mask from where two prompts ask for different noise, and an edit within it."""

from collections.abc import Sequence

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from stages.diffusion.guidance import PredictNoise, with_guidance
from stages.diffusion.inversion import invert_latents
from stages.models.conditioning import Conditioning

MASK_STRENGTH = 0.5  # of the noise under which the prompts are compared
MASK_NOISES = 10  # over which the contrast is averaged
EXTREME = 3.0  # multiples of its mean from which the contrast counts no more
THRESHOLD = 0.5  # of the contrast, rescaled to [0, 1]


def contrast_mask(
    predict_noise: PredictNoise,
    scheduler: DDIMScheduler,
    source: Tensor,
    noises: Sequence[Tensor],
    prompt: Conditioning,
    reference: Conditioning,
    *,
    steps: int,
) -> Tensor:
    """Return where an edit belongs, (n, 1, h, w), 0 or 1 (section 3.2, step 1).

    The source is noised by half, and the noise is predicted for both prompts. The absolute difference, averaged over channels
    and several noises, without extreme values and rescaled to [0, 1], is cut at one half.

    Args:
        predict_noise: ε_θ, the U-Net.
        scheduler: its state is reset.
        source: z₁, (n, c, h, w).
        noises: one or more, (n, c, h, w) each.
        prompt: n prompts, what the edits should show.
        reference: n prompts, what the sources show.
        steps: the number of steps in the schedule from which the timestep is taken.
    """
    scheduler.set_timesteps(steps, device=source.device)
    timestep = scheduler.timesteps[steps - max(int(steps * MASK_STRENGTH), 1)]
    both = prompt.followed_by(reference)
    contrast = torch.zeros_like(source[:, :1])
    for noise in noises:
        noisy = scheduler.add_noise(source, noise, timestep.view(1))
        wanted, shown = predict_noise(torch.cat([noisy, noisy]), timestep, both).chunk(2)
        contrast += (wanted - shown).abs().mean(dim=1, keepdim=True) / len(noises)
    most = EXTREME * contrast.mean(dim=(1, 2, 3), keepdim=True)
    return (torch.minimum(contrast, most) > THRESHOLD * most).to(source)


def diffedit_latents(
    predict_noise: PredictNoise,
    scheduler: DDIMScheduler,
    source: Tensor,
    mask: Tensor,
    prompt: Conditioning,
    empty_prompt: Conditioning,
    *,
    steps: int,
    strength: float,
    guidance_scale: float,
) -> Tensor:
    """Return edited latents, (n, c, h, w) (section 3.2, steps 2 and 3).

    The source is encoded by DDIM inversion without a prompt and decoded with one; after each step, what lies outside the mask
    is replaced by the encoded latents of that timestep. A mask of zeros returns the source exactly.

    Args:
        predict_noise: ε_θ, the U-Net.
        scheduler: its state is reset.
        source: z₁, (n, c, h, w).
        mask: (n, 1, h, w), 1 where the edit is.
        prompt: n prompts.
        empty_prompt: the empty prompt, 1 or n.
        steps: the number of steps in the whole schedule.
        strength: the encoding ratio r, the share of the schedule that is run, in (0, 1].
        guidance_scale: the scale of classifier-free guidance in decoding.

    Raises:
        ValueError: no step is left to do.
    """
    nothing = empty_prompt.expand(len(prompt))
    timesteps, encoded = invert_latents(
        lambda latents, timestep: predict_noise(latents, timestep, nothing), scheduler, source, steps=steps, strength=strength
    )
    predict = with_guidance(predict_noise, prompt, empty_prompt, guidance_scale)
    latents = encoded[0]
    for timestep, kept in zip(timesteps, encoded[1:], strict=True):
        latents = scheduler.step(predict(latents, timestep), timestep, latents).prev_sample
        latents = torch.where(mask > 0, latents, kept)
    return latents
