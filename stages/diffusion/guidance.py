"""Classifier-free guidance (Ho and Salimans 2022), in sampling and as the target of the loss L_guided."""

from collections.abc import Callable

import torch
from torch import Tensor

from stages.models.conditioning import Conditioning

PredictNoise = Callable[[Tensor, Tensor, Conditioning], Tensor]
"""(latents, timestep, prompts) → predicted noise."""


def guide(unconditional: Tensor, conditional: Tensor, scale: float | Tensor) -> Tensor:
    """Return ε̃ = ε(∅) + s (ε(y) − ε(∅)).

    Args:
        unconditional: ε(∅), the noise predicted for the empty prompt, (n, c, h, w).
        conditional: ε(y), the noise predicted for the prompt, (n, c, h, w).
        scale: s; 1 is no guidance. A tensor must broadcast against the noise.
    """
    return unconditional + scale * (conditional - unconditional)


def with_guidance(
    predict_noise: PredictNoise, prompt: Conditioning, empty_prompt: Conditioning, scale: float
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return (latents, timestep) → predicted noise under guidance by the prompts, from one call of the U-Net.

    Args:
        predict_noise: ε_θ, the U-Net.
        prompt: n prompts.
        empty_prompt: what guidance leads away from, usually the empty prompt; 1 or n.
        scale: 1, or less, is no guidance; the empty prompt is not evaluated then.
    """
    if scale <= 1:
        return lambda latents, timestep: predict_noise(latents, timestep, prompt)
    both = empty_prompt.expand(len(prompt)).followed_by(prompt)

    def predict(latents: Tensor, timestep: Tensor) -> Tensor:
        unconditional, conditional = predict_noise(torch.cat([latents, latents]), timestep, both).chunk(2)
        return guide(unconditional, conditional, scale)

    return predict


def guided_noise(unconditional: Tensor, conditional: Tensor, time: Tensor, scale: float) -> Tensor:
    """Return ε_g = ε(∅) + s(t) (ε(y₂) − ε(∅)) with s(t) = 1 + (s − 1) t/T, the foreground target of L_guided.

    The default trains on L_guided = Eq 9 with ε_g in place of ε₂, where ε is the base model, and with the widened M₁ for
    both masks. The scale falls with the noise, with the same weight t/T that Eq 12 gives to the noise loss: with little
    noise left the prompt has already had its effect, and guidance only makes the picture harsher (Kynkäänniemi et al. 2024,
    "Applying guidance in a limited interval").

    Args:
        unconditional: ε(∅), (n, c, h, w).
        conditional: ε(y₂), (n, c, h, w).
        time: t/T of each sample, (n,), in (0, 1].
        scale: s, the scale at t = T; at least 1.
    """
    return guide(unconditional, conditional, 1 + (scale - 1) * time.view(-1, 1, 1, 1))
