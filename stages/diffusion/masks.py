"""Masks at picture size and at latent size, (n, 1, h, w), 1 where the edit is."""

import torch
from torch import Tensor


def shrink_mask(mask: Tensor, size: tuple[int, int], threshold: float) -> Tensor:
    """Return a binary mask of ``size``, latent height and width: 1 where ``mask`` covers at least ``threshold`` of the cell.

    Args:
        mask: (n, 1, H, W), in [0, 1].
        size: (h, w).
        threshold: a share of the cell's area, in [0, 1].
    """
    return (torch.nn.functional.interpolate(mask, size=size, mode="area") >= threshold).float()


def widen_mask(mask: Tensor, margin: float) -> Tensor:
    """Return a mask grown on all sides, because the new thing has another outline than the one it replaces.

    Args:
        mask: (n, 1, H, W), in [0, 1].
        margin: how far it grows, as a share of its shorter side, in [0, 0.5].
    """
    reach = round(margin * min(mask.shape[-2:]))
    return torch.nn.functional.max_pool2d(mask, 2 * reach + 1, stride=1, padding=reach)


def widen_cells(mask: Tensor) -> Tensor:
    """Return a mask at latent size, (n, 1, h, w), grown by one cell on all sides."""
    return torch.nn.functional.max_pool2d(mask, 3, stride=1, padding=1)
