"""The interface of a training method, by which the loop trains any of them."""

from collections.abc import Mapping
from typing import Protocol, TypeVar

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from stages.training.dataset import Batch

Blocks = Mapping[str, nn.ModuleList]
Draws = TypeVar("Draws")


class Method(Protocol[Draws]):
    """A U-Net to train, its trainable parts, the random draws of a batch, and the losses."""

    @property
    def unet(self) -> UNet2DConditionModel:
        """The U-Net, which is trained in place."""

    def blocks(self) -> Blocks:
        """Return the trainable parts by name; they take turns, one per step. Everything else stays frozen."""

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass instead of keeping them."""

    def draw(self, shape: torch.Size, seed: int, numbers: list[int]) -> Draws:
        """Return the random draws of some samples, on the CPU; those of a sample depend only on the seed and its number.

        Args:
            shape: the shape of a sample's latents.
            seed: the seed of the training.
            numbers: the numbers of the samples.
        """

    def losses(self, network: nn.Module, batch: Batch, draws: Draws, /) -> dict[str, Tensor]:
        """Return ``total``, which is minimised, and whatever else is logged, (n,) each, in fp32.

        Args:
            network: the U-Net as prepared for the device and for several processes.
            batch: n samples.
            draws: the draws of the same samples.
        """
