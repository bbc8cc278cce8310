"""Masks at the size of a picture and at that of its latents, (n, 1, h, w), 1 where the edit is."""

import torch
from torch import Tensor


def shrink_mask(mask: Tensor, size: tuple[int, int], threshold: float) -> Tensor:
    """Return a binary mask (n, 1, h, w) at latent size: resized by area, 1 where at least ``threshold`` is covered."""
    return (torch.nn.functional.interpolate(mask, size=size, mode="area") >= threshold).float()


def widen_mask(mask: Tensor, margin: float) -> Tensor:
    """Return a mask (n, 1, h, w) grown by ``margin`` of its shorter side, in [0, 0.5], to every side.

    A mask has the outline of the thing that is there; what takes its place has another.
    """
    reach = round(margin * min(mask.shape[-2:]))
    return torch.nn.functional.max_pool2d(mask, 2 * reach + 1, stride=1, padding=reach)


def widen_cells(mask: Tensor) -> Tensor:
    """Return a mask at latent size, (n, 1, h, w), grown by one cell to every side."""
    return torch.nn.functional.max_pool2d(mask, 3, stride=1, padding=1)
