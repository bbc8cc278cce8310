"""Random numbers of training samples; every method draws from the same streams, and so sees the same noise."""

import torch
from torch import Tensor

from stages.common.seeds import derive_seed


def draw_samples(shape: torch.Size, total: int, seed: int, numbers: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the random numbers of some samples, each of which depends only on the seed and the sample's number.

    Args:
        shape: the shape of a sample's noise.
        total: T, the number of timesteps.
        seed: the seed of the training.
        numbers: the numbers of the samples, n of them.

    Returns:
        Timesteps in 0 … T - 1, (n,); standard normal noise, (n, *shape); two uniform numbers in [0, 1), (2, n).
    """
    timesteps, noise, chances = [], [], []
    for number in numbers:
        generator = torch.Generator().manual_seed(derive_seed(seed, "draw", number))
        timesteps.append(torch.randint(total, (), generator=generator))
        noise.append(torch.randn(shape, generator=generator))
        chances.append(torch.rand(2, generator=generator))
    return torch.stack(timesteps), torch.stack(noise), torch.stack(chances, dim=1)
