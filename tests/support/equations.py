"""Numbers for tests of the equations: Stable Diffusion's noise schedule, and random arrays in float64."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from stages.diffusion.noise import alpha_at

T = 1000
BETAS = np.linspace(0.00085**0.5, 0.012**0.5, T) ** 2  # "scaled_linear", as Stable Diffusion was trained
ALPHAS = np.cumprod(1 - BETAS)
SNR = ALPHAS / (1 - ALPHAS)
SHAPE = (3, 4, 5, 6)
TIMES = [0, 500, 999]
SMALL = (2, 2, 2, 3)  # for gradients by differences


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape or SHAPE)


def binary(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(2, size=shape or (SHAPE[0], 1, *SHAPE[2:])).astype(float)


def tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(array)).float()


def alpha() -> tuple[np.ndarray, Tensor]:
    """The cumulative alpha at TIMES, in float64, and as the code has it."""
    return ALPHAS[TIMES].reshape(-1, 1, 1, 1), alpha_at(tensor(ALPHAS), torch.tensor(TIMES))


def close(found: Tensor, wanted: np.ndarray, tolerance: float = 2e-5) -> None:
    assert found.shape == np.shape(wanted)
    np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=tolerance, atol=tolerance * np.abs(wanted).max())


def slope(loss: Callable[[np.ndarray], np.ndarray], point: np.ndarray) -> np.ndarray:
    """The gradient of the sum of a loss by central differences in float64."""
    found = np.zeros_like(point)
    for place in np.ndindex(*point.shape):
        step = np.zeros_like(point)
        step[place] = 1e-6
        found[place] = (loss(point + step).sum() - loss(point - step).sum()) / 2e-6
    return found


def autograd(loss: Callable[[Tensor], Tensor], point: np.ndarray) -> Tensor:
    at = tensor(point).requires_grad_()
    loss(at).sum().backward()
    assert at.grad is not None
    return at.grad


def mean_square(array: np.ndarray) -> np.ndarray:
    return (array**2).reshape(len(array), -1).mean(axis=1)


def distance(found: np.ndarray, text: np.ndarray) -> np.ndarray:
    return 1 - (found * text).sum(1) / np.linalg.norm(found, axis=1)
