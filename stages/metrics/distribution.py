"""Distances between two sets of pictures, by the features of the pictures."""

import torch
from torch import Tensor

from stages.core.errors import InputError


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Fréchet distance of the Gaussians with the sets' means and covariances (Heusel et al. 2017, equation 6).

    |μ₁ - μ₂|² + tr Σ₁ + tr Σ₂ - 2 tr (Σ₁ Σ₂)^½. With centred features X₁, X₂ the last trace is the sum of the singular
    values of X₁ X₂ᵀ / √((n₁-1)(n₂-1)). This is exact for n < d too, where Σ₁ Σ₂ is singular and its square root is
    unreliable. The triangular factors of X₁ and X₂ have the same products and are at most (d, d).

    The distance is biased upwards by an amount that falls with 1/n: compare sets of equal size only. It may be called
    "FID" only with the pool3 features of Inception; with other features it is named after these.

    Args:
        first: (n₁, d) features.
        second: (n₂, d) features.

    Returns:
        the distance, 0 or more; NaN for a set of fewer than 2.

    Raises:
        InputError: the features are not (n, d) with one d.
    """
    _check(first, second)
    if min(len(first), len(second)) < 2:
        return float("nan")
    x, y = first.double(), second.double()
    centred_x, centred_y = x - x.mean(dim=0), y - y.mean(dim=0)
    factors = [torch.linalg.qr(centred, mode="r").R for centred in (centred_x, centred_y)]
    m, n = len(x) - 1, len(y) - 1
    root_trace = torch.linalg.svdvals(factors[0] @ factors[1].T).sum() / (m * n) ** 0.5
    distance = (x.mean(dim=0) - y.mean(dim=0)).square().sum() - 2 * root_trace
    distance += centred_x.square().sum() / m + centred_y.square().sum() / n
    return max(float(distance), 0.0)  # rounding can make the distance of equal sets negative


def cubic_kernel(first: Tensor, second: Tensor) -> Tensor:
    """Return (n, m), (x·y/d + 1)³ for all pairs: the kernel of KID (Bińkowski et al. 2018, section 4).

    Args:
        first: (n, d) features.
        second: (m, d) features.

    Raises:
        InputError: the features are not (n, d) with one d.
    """
    _check(first, second)
    return (first.double() @ second.double().T / first.shape[1] + 1) ** 3


def paired_terms(first: Tensor, second: Tensor) -> Tensor:
    """Return h (n, n), whose mean off the diagonal is the paired kernel distance (Gretton et al. 2012, equation 4).

    Args:
        first: (n, d) features, row i of case i.
        second: (n, d) features, row i of the same case.

    Raises:
        InputError: the features are not (n, d) with one d.
    """
    between = cubic_kernel(first, second)
    terms = cubic_kernel(first, first) + cubic_kernel(second, second) - between - between.T
    return terms.fill_diagonal_(0)


def paired_kernel_distance(terms: Tensor) -> float:
    """KID of two sets whose rows i belong together: no case is compared with itself, within a set or across them.

    An edit resembles its own source more than any other. Treating the sets as independent would include that pair and
    pull the estimate below 0, the more so the less an editor changes. Without it the estimate is unbiased, and 0 for an
    editor that changes nothing.

    Args:
        terms: (n, n) from ``paired_terms``, or the rows and columns of some cases.

    Returns:
        the squared discrepancy; NaN for fewer than 2 cases.
    """
    n = len(terms)
    return float(terms.sum() / (n * (n - 1))) if n > 1 else float("nan")


def _check(first: Tensor, second: Tensor) -> None:
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise InputError(f"features of shapes {tuple(first.shape)} and {tuple(second.shape)}: both must be (n, d) with one d")
