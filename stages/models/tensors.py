"""Conversion of pictures and masks to tensors and back."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

HOST = torch.device("cpu")  # where models wait for their turn on the device


def device() -> torch.device:
    """Return the GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def dtype_of(network: nn.Module) -> torch.dtype:
    """Return the type of a network's numbers; its pictures, latents and embeddings outside are fp32, whatever it is."""
    return next(network.parameters()).dtype


def stacked(images: Sequence[Image.Image]) -> Tensor:
    """Return n RGB images of one size as bytes, (n, height, width, 3), on the CPU."""
    return torch.from_numpy(np.stack([np.asarray(image) for image in images]))


def from_bytes(pixels: Tensor) -> Tensor:
    """Return pictures (n, height, width, 3) of bytes as a float tensor (n, 3, height, width) in [0, 1] on the device."""
    return pixels.to(device()).permute(0, 3, 1, 2).float().div_(255)  # a new tensor would take far longer than the division


def to_tensor(images: Sequence[Image.Image]) -> Tensor:
    """Return n RGB images of one size as a float tensor (n, 3, height, width) in [0, 1] on the device."""
    return from_bytes(stacked(images))


def mask_to_tensor(masks: Sequence[Image.Image]) -> Tensor:
    """Return n "L" masks of one size as a float tensor (n, 1, height, width) in [0, 1] on the device."""
    return torch.from_numpy(np.stack([np.asarray(mask) for mask in masks])).unsqueeze(1).float().to(device()) / 255


def to_images(pictures: Tensor) -> list[Image.Image]:
    """Return pictures (n, 3, height, width) in [0, 1] as RGB images, values clamped and rounded."""
    levels = (pictures.detach().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(level) for level in levels]


def to_masks(masks: Tensor) -> list[Image.Image]:
    """Return masks (n, 1, height, width) in [0, 1] as "L" images, values rounded."""
    return [Image.fromarray(level[0]) for level in (masks.detach() * 255).round().to(torch.uint8).cpu().numpy()]
