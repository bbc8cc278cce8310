"""Forward diffusion and noise prediction: Eq 1, 2, 3, 4 and 7; and the velocity that some models predict instead.

Latents are (n, c, h, w). ``alpha`` is the scheduler's ``alphas_cumprod`` at each sample's timestep, shaped (n, 1, 1, 1) by
:func:`alpha_at`. Timesteps run from 0 to T - 1, so the paper's t/T is (t + 1)/T here.
"""

import torch
from torch import Tensor


def alpha_at(alphas_cumprod: Tensor, timesteps: Tensor) -> Tensor:
    """Return α_t for each timestep, (n,) → (n, 1, 1, 1)."""
    return alphas_cumprod.to(timesteps.device)[timesteps].view(-1, 1, 1, 1)


def time_share(timesteps: Tensor, total: int) -> Tensor:
    """Return the paper's t/T, in (0, 1], for timesteps 0 … ``total`` - 1."""
    return (timesteps + 1).to(torch.float32) / total


def add_noise(latents: Tensor, noise: Tensor, alpha: Tensor) -> Tensor:
    """Eq 2: z_t = √α_t z₁ + √(1 − α_t) ε₁."""
    return alpha.sqrt() * latents + (1 - alpha).sqrt() * noise


def noise_towards(noisy: Tensor, target: Tensor, alpha: Tensor) -> Tensor:
    """Eq 3: ε₂ = (z_t − √α_t z₂) / √(1 − α_t), the noise that makes ``noisy`` out of ``target``.

    If ``noisy`` was made from z₁ with the noise ε₁, this is ε₁ + √SNR (z₁ − z₂), where SNR = α_t / (1 − α_t).
    """
    return (noisy - alpha.sqrt() * target) / (1 - alpha).sqrt()


def predict_clean(noisy: Tensor, predicted_noise: Tensor, alpha: Tensor) -> Tensor:
    """Eq 7: ẑ₁ = (z_t − √(1 − α_t) ε_θ) / √α_t, the latents without the predicted noise."""
    return (noisy - (1 - alpha).sqrt() * predicted_noise) / alpha.sqrt()


def squared_error(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Eq 1: L_LDM = ‖ε − ε_θ‖², and Eq 4: L_paired = ‖ε₂ − ε_θ‖², depending on the target noise.

    Returns:
        The mean over all elements of each sample, (n,), in fp32.
    """
    return (predicted.float() - wanted.float()).square().flatten(1).mean(dim=1)


def velocity(latents: Tensor, noise: Tensor, alpha: Tensor) -> Tensor:
    """Return v = √α_t ε − √(1 − α_t) z, what a v-prediction model learns (Salimans and Ho 2022, appendix D)."""
    return alpha.sqrt() * noise - (1 - alpha).sqrt() * latents


def noise_of_velocity(predicted: Tensor, noisy: Tensor, alpha: Tensor) -> Tensor:
    """Return ε_θ = √α_t v_θ + √(1 − α_t) z_t, the noise that a predicted velocity stands for."""
    return alpha.sqrt() * predicted + (1 - alpha).sqrt() * noisy
