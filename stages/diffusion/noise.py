"""Forward diffusion between a source and a target (Eq 2, 3 and 7).

Latents are (n, c, h, w). ``alpha`` is the scheduler's ``alphas_cumprod`` at each sample's timestep, shaped (n, 1, 1, 1)
by :func:`alpha_at`; timesteps run from 0 to T - 1, so the paper's t/T is (t + 1)/T here.
"""

import torch
from torch import Tensor


def alpha_at(alphas_cumprod: Tensor, timesteps: Tensor) -> Tensor:
    """Return the cumulative alpha of each timestep, (n,) → (n, 1, 1, 1)."""
    return alphas_cumprod.to(timesteps.device)[timesteps].view(-1, 1, 1, 1)


def add_noise(latents: Tensor, noise: Tensor, alpha: Tensor) -> Tensor:
    """Eq 2: z_t = sqrt(alpha) z + sqrt(1 - alpha) noise."""
    return alpha.sqrt() * latents + (1 - alpha).sqrt() * noise


def noise_towards(noisy: Tensor, target: Tensor, alpha: Tensor) -> Tensor:
    """Eq 3: the noise that explains ``noisy`` as a corruption of ``target``.

    With ``noisy`` made from a source by noise e1, this is e1 + sqrt(SNR) (source - target), SNR = alpha/(1 - alpha).
    """
    return (noisy - alpha.sqrt() * target) / (1 - alpha).sqrt()


def predict_clean(noisy: Tensor, predicted_noise: Tensor, alpha: Tensor) -> Tensor:
    """Eq 7: the latents that remain of ``noisy`` when the predicted noise is taken away."""
    return (noisy - (1 - alpha).sqrt() * predicted_noise) / alpha.sqrt()


def time_share(timesteps: Tensor, total: int) -> Tensor:
    """Return the paper's t/T in (0, 1] for timesteps 0 … total - 1."""
    return (timesteps + 1).to(torch.float32) / total
