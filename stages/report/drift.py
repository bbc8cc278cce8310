"""Whether a night's data lie too far from those of earlier nights to train on them."""

from collections.abc import Iterable, Sequence
from statistics import median

from stages.core.params_drift import Drift
from stages.report.night import Night

SHARES = ("shares", "relations")
DIFFERENCES, RATIOS = (*SHARES, "scores", "areas"), ("words", "uses")
"""The kinds of numbers that are bounded. Counts grow, and the speed of a small night is that of loading the models."""


def find_drift(night: Night, earlier: Sequence[Night], bounds: Drift) -> str | None:
    """Return a line with the number, its value and the bound, if a number lies too far from its median of earlier nights.

    A share that a night lacks is 0 where it has others of that kind, because no sample was dropped for that reason, or edited
    in that way. Any other number is checked once ``min_nights`` have it.

    Args:
        night: see :func:`stages.report.night.measure_night`.
        earlier: the nights that passed the check, newest first.
        bounds: the section ``drift`` of params.yaml.
    """
    latest = earlier[: bounds.nights]
    shares = {name for each in (night, *latest) for name in each if _kind(name) in SHARES}
    before = [_with_all(shares, each) for each in latest]
    for name, value in sorted(_with_all(shares, night).items()):
        found = [each[name] for each in before if name in each]
        if len(found) < bounds.min_nights:
            continue
        norm, kind = median(found), _kind(name)
        difference, ratio = abs(value - norm), max(value, norm) / max(min(value, norm), 1)
        for kinds, key, distance, bound in (
            (DIFFERENCES, "max_difference", difference, bounds.max_difference),
            (RATIOS, "max_ratio", ratio, bounds.max_ratio),
        ):
            if kind in kinds and bound is not None and distance > bound:
                return f"drift.{key} = {bound}: {name} is {value:.3g}, the median of {len(found)} nights is {norm:.3g}"
    return None


def _with_all(shares: Iterable[str], night: Night) -> Night:
    """Return a night with each of some shares, 0 where it has none, but for kinds of which it has no share at all."""
    kinds = set(map(_kind, night))
    return {name: 0.0 for name in shares if _kind(name) in kinds} | night


def _kind(name: str) -> str:
    return name.partition("/")[0]
