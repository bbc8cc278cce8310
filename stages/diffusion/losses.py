"""The losses of the paper, one value for each sample: Eq 1, 4, 5, 8-12.

Every function returns (n,) in fp32, means over all elements of a sample. Masks are (n, 1, h, w) with 1 where the edit
is; where a mask multiplies a picture in [0, 1] the rest is black.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def squared_error(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Eq 1 (wanted: the source noise e1) and Eq 4 (wanted: e2): mean squared error of the predicted noise."""
    return (predicted.float() - wanted.float()).square().flatten(1).mean(dim=1)


def masked_noise_loss(predicted: Tensor, source_noise: Tensor, target_noise: Tensor, m1: Tensor, m2: Tensor) -> Tensor:
    """Eq 8, 9: the target's noise inside the target's mask, the source's noise outside the source's mask.

    The mean runs over all elements, so m1 = m2 = 1 gives Eq 4 exactly. Where m2 lies outside m1 both terms pull; where
    m1 lies outside m2 neither does.
    """
    foreground = (m2 * (predicted.float() - target_noise.float())).square()
    background = ((1 - m1) * (predicted.float() - source_noise.float())).square()
    return (foreground + background).flatten(1).mean(dim=1)


def clip_distance(image_embeddings: Tensor, text_embeddings: Tensor) -> Tensor:
    """D_CLIP of Eq 5 and 11: one minus the cosine of unit embeddings (n, d), in [0, 2]."""
    return 1 - (image_embeddings * text_embeddings).sum(dim=1)


def perceptual_loss(edited: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """Eq 10: mean squared error of VGG features, averaged over the layers."""
    return torch.stack([squared_error(one, other) for one, other in zip(edited, target, strict=True)]).mean(dim=0)


def total_loss(
    *, local_clip: Tensor, global_clip: Tensor, noise: Tensor, perceptual: Tensor, time: Tensor, perceptual_weight: float
) -> dict[str, Tensor]:
    """Eq 12: the weighted terms of each sample, by name, and their ``total``.

    Args:
        local_clip: L_loc, Eq 11.
        global_clip: L_global, Eq 5.
        noise: L_mask, Eq 8 (or Eq 1 or 4 in its place).
        perceptual: L_perc, Eq 10; it has no weight in t.
        time: t/T in (0, 1]; near 1 the noise loss counts, near 0 the losses on the picture.
        perceptual_weight: lambda_perc.
    """
    weighted = {
        "local_clip": (1 - time) * local_clip,
        "global_clip": (1 - time) * global_clip,
        "noise": time * noise,
        "perceptual": perceptual_weight * perceptual,
    }
    return weighted | {"total": torch.stack(list(weighted.values())).sum(dim=0)}


class _StraightThroughClamp(torch.autograd.Function):
    """Clamp to [0, 1] whose gradient is that of the identity."""

    @staticmethod
    def forward(ctx: object, pictures: Tensor) -> Tensor:  # noqa: ARG004 - autograd's signature
        return pictures.clamp(0, 1)

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:  # noqa: ARG004 - autograd's signature
        return gradients[0]


def clamp_pictures(pictures: Tensor) -> Tensor:
    """Clamp pictures to [0, 1] and let gradients through: a hard clamp kills those of saturated pixels."""
    clamped: Tensor = _StraightThroughClamp.apply(pictures)
    return clamped
