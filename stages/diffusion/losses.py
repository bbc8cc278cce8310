"""The losses of the paper, Eq 5 and 8–12, and the table of the terms that they make up.

Every loss returns one value per sample, (n,), in fp32: the mean over all elements of the sample. Masks are (n, 1, h, w), 1
where the edit is. A picture in [0, 1] that is multiplied by a mask is black outside it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from stages.core.params_training import Losses
from stages.diffusion.noise import squared_error


class Prediction(Protocol):
    """What the U-Net predicts for n samples, and what the losses compare it with."""

    @property
    def noise(self) -> Tensor:
        """ε_θ, the predicted noise, (n, c, h, w)."""

    @property
    def source_noise(self) -> Tensor:
        """ε₁, (n, c, h, w)."""

    @property
    def target_noise(self) -> Tensor:
        """ε₂ of Eq 3, (n, c, h, w)."""

    @property
    def guided_noise(self) -> Tensor:
        """ε_g, the guided prediction of the base model, (n, c, h, w)."""

    @property
    def m1(self) -> Tensor:
        """M₁ at latent size, (n, 1, h, w)."""

    @property
    def m2(self) -> Tensor:
        """M₂ at latent size, (n, 1, h, w)."""

    @property
    def widened_m1(self) -> Tensor:
        """M₁ at latent size, grown by one cell, (n, 1, h, w)."""

    @property
    def picture_embedding(self) -> Tensor:
        """x̂₁ in CLIP's space, unit length, (n, e)."""

    @property
    def region_embedding(self) -> Tensor:
        """x̂₁ ⊙ M₁ in CLIP's space, unit length, (n, e)."""

    @property
    def prompt_embedding(self) -> Tensor:
        """y₂ in CLIP's space, unit length, (n, e)."""

    @property
    def diff_embedding(self) -> Tensor:
        """y₂ᵈⁱᶠᶠ in CLIP's space, unit length, (n, e)."""

    @property
    def region_features(self) -> list[Tensor]:
        """V(x̂₁ ⊙ M₁), one tensor per layer."""

    @property
    def target_features(self) -> list[Tensor]:
        """V(x₂ ⊙ M₂), one tensor per layer."""


def masked_noise_loss(predicted: Tensor, source_noise: Tensor, target_noise: Tensor, m1: Tensor, m2: Tensor) -> Tensor:
    """Eq 8: L_mask = L_fg + L_bg, with Eq 9: L_fg = ‖ε₂ ⊙ M₂ − ε_θ ⊙ M₂‖² and L_bg = ‖ε₁ ⊙ M̄₁ − ε_θ ⊙ M̄₁‖².

    The mean runs over all elements, so M₁ = M₂ = 1 gives exactly Eq 4. Where M₂ reaches beyond M₁ both parts apply; where M₁
    reaches beyond M₂ neither does.
    """
    foreground = (m2 * (predicted.float() - target_noise.float())).square()
    background = ((1 - m1) * (predicted.float() - source_noise.float())).square()
    return (foreground + background).flatten(1).mean(dim=1)


def clip_distance(image_embeddings: Tensor, text_embeddings: Tensor) -> Tensor:
    """Eq 5: L_global = D_CLIP(x̂₁, y₂), and Eq 11: L_loc = D_CLIP(x̂₁ ⊙ M₁, y₂ᵈⁱᶠᶠ), where D_CLIP = 1 − cosine, in [0, 2].

    Args:
        image_embeddings: unit length, (n, e).
        text_embeddings: unit length, (n, e).
    """
    return 1 - (image_embeddings * text_embeddings).sum(dim=1)


def perceptual_loss(edited: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """Eq 10: L_perc = ‖V(x̂₁ ⊙ M₁) − V(x₂ ⊙ M₂)‖², averaged over the layers of V, a VGG-16."""
    return torch.stack([squared_error(one, other) for one, other in zip(edited, target, strict=True)]).mean(dim=0)


def min_snr_weight(snr: Tensor, gamma: float | None) -> Tensor:
    """Return min(SNR, γ) / SNR, (n,), by which Min-SNR-γ (Hang et al. 2023, section 3.4) weighs a loss on the noise.

    It holds for models that predict the velocity too, because their losses here are on the noise that it means:
    ‖v − v_θ‖² min(SNR, γ) / (SNR + 1) is the same as ‖ε − ε_θ‖² min(SNR, γ) / SNR.

    Args:
        snr: α_t / (1 − α_t) of each sample, (n,).
        gamma: γ; None weighs all samples alike.
    """
    return torch.ones_like(snr) if gamma is None else (gamma / snr).clamp(max=1)


@dataclass(frozen=True, kw_only=True)
class Term:
    """A term of Eq 12."""

    name: str  # in the logs: raw/NAME, weighted/NAME
    symbol: str  # in the paper
    equation: str
    loss: Callable[[Prediction], Tensor]
    weight: Callable[[Tensor, Tensor, Losses], Tensor | float]  # from t/T, in (0, 1], and the SNR, (n,) each
    needs_picture: bool  # whether the latents must be decoded (Eq 6)
    is_on: Callable[[Losses], bool]
    needs_target: bool = False  # whether the target's picture must be read


def _noise_term(setting: str, symbol: str, equation: str, loss: Callable[[Prediction], Tensor]) -> Term:
    """Return a variant of the noise term; ``losses.noise`` names the one that is on."""
    return Term(
        name="noise",
        symbol=symbol,
        equation=equation,
        loss=loss,
        weight=lambda time, snr, config: time * min_snr_weight(snr, config.min_snr),
        needs_picture=False,
        is_on=lambda config: config.noise == setting,
    )


TERMS = (
    Term(
        name="local_clip",
        symbol="L_loc",
        equation="Eq 11",
        loss=lambda edit: clip_distance(edit.region_embedding, edit.diff_embedding),
        weight=lambda time, *_: 1 - time,
        needs_picture=True,
        is_on=lambda config: config.local_clip,
    ),
    Term(
        name="global_clip",
        symbol="L_global",
        equation="Eq 5",
        loss=lambda edit: clip_distance(edit.picture_embedding, edit.prompt_embedding),
        weight=lambda time, *_: 1 - time,
        needs_picture=True,
        is_on=lambda config: config.global_clip,
    ),
    _noise_term("ldm", "L_LDM", "Eq 1", lambda edit: squared_error(edit.noise, edit.source_noise)),
    _noise_term("paired", "L_paired", "Eq 4", lambda edit: squared_error(edit.noise, edit.target_noise)),
    _noise_term(
        "mask",
        "L_mask",
        "Eq 8, 9",
        lambda edit: masked_noise_loss(edit.noise, edit.source_noise, edit.target_noise, edit.m1, edit.m2),
    ),
    _noise_term(
        "guided",
        "L_guided",
        "Eq 8, 9 towards the guided base model",
        lambda edit: masked_noise_loss(edit.noise, edit.source_noise, edit.guided_noise, edit.widened_m1, edit.widened_m1),
    ),
    Term(
        name="perceptual",
        symbol="L_perc",
        equation="Eq 10",
        loss=lambda edit: perceptual_loss(edit.region_features, edit.target_features),
        weight=lambda _, __, config: config.perceptual_weight,
        needs_picture=True,
        is_on=lambda config: config.perceptual,
        needs_target=True,
    ),
)
"""The terms of Eq 12, in its order; of the four noise terms one is on."""
TERM_NAMES = tuple(dict.fromkeys(term.name for term in TERMS))


def active_terms(config: Losses) -> list[Term]:
    """Return the terms that are on, in the order of Eq 12."""
    return [term for term in TERMS if term.is_on(config)]


def total_loss(raw: Mapping[str, Tensor], time: Tensor, snr: Tensor, config: Losses) -> tuple[dict[str, Tensor], Tensor]:
    """Eq 12: (1 − t/T)(L_loc + L_global) + (t/T) L_mask + λ_perc L_perc.

    L_perc alone has no weight in t. With ``config.min_snr`` L_mask is weighed by :func:`min_snr_weight` besides.

    Args:
        raw: the loss of every term that is on, by name, (n,) each.
        time: t/T of each sample, (n,), in (0, 1]; near 1 the noise loss counts, near 0 the losses on the picture.
        snr: the signal-to-noise ratio of each sample, α_t / (1 − α_t), (n,).
        config: which terms are on, λ_perc, and γ of Min-SNR-γ.

    Returns:
        The weighted terms by name, zero where a term is off, and their sum, (n,) each.
    """
    weighted = dict.fromkeys(TERM_NAMES, torch.zeros_like(time))
    for term in active_terms(config):
        weighted[term.name] = term.weight(time, snr, config) * raw[term.name]
    return weighted, torch.stack(list(weighted.values())).sum(dim=0)


class _StraightThroughClamp(torch.autograd.Function):
    """Clamp to [0, 1] with the gradient of the identity."""

    @staticmethod
    def forward(ctx: object, pictures: Tensor) -> Tensor:  # noqa: ARG004 - autograd's signature
        return pictures.clamp(0, 1)

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:  # noqa: ARG004 - autograd's signature
        return gradients[0]


def clamp_pictures(pictures: Tensor) -> Tensor:
    """Clamp pictures to [0, 1] and pass every gradient on: a hard clamp would stop those of saturated pixels."""
    clamped: Tensor = _StraightThroughClamp.apply(pictures)
    return clamped
