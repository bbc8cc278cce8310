"""What a system made of cases, and which of its edits failed."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Edited:
    """The edits of n cases. One whose mask is empty failed: it is the source, as the autoencoder returns it."""

    pictures: Tensor  # (n, 3, h, w) in [0, 1]
    failed: Tensor  # (n,), bool

    @classmethod
    def everywhere(cls, pictures: Tensor) -> Self:
        """Return edits without masks, none of which can fail."""
        return cls(pictures=pictures, failed=torch.zeros(len(pictures), dtype=torch.bool))

    @classmethod
    def within(cls, pictures: Tensor, cells: Tensor) -> Self:
        """Return edits within masks.

        Args:
            pictures: (n, 3, h, w) in [0, 1].
            cells: the masks as the denoising used them, at latent size, (n, 1, h, w), 0 or 1.
        """
        return cls(pictures=pictures, failed=~cells.bool().flatten(1).any(dim=1))
