"""Exponents and ratios of measured figures."""

import math
import statistics
from collections.abc import Sequence


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Return the exponent p of cost ∝ size^p by least squares on logarithms.

    Args:
        sizes: at least two different sizes, above 0.
        costs: the cost at each size, above 0.
    """
    slope = statistics.linear_regression([math.log(size) for size in sizes], [math.log(cost) for cost in costs]).slope
    return round(slope, 3)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Return the median, lowest and highest ratio of figures that were measured in turn."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return {"median": round(statistics.median(ratios), 3), "lowest": round(min(ratios), 3), "highest": round(max(ratios), 3)}


def on_line(size: float, sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Return the cost at a size on the straight line through measured sizes."""
    slope, intercept = statistics.linear_regression(sizes, costs)
    return slope * size + intercept
