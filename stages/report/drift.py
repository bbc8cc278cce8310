"""Whether a night's data lie too far from those of earlier nights to train on them."""

from collections.abc import Sequence
from statistics import median

from stages.core.params_drift import Drift
from stages.report.night import Night

DIFFERENCES, RATIOS = ("shares", "scores", "areas"), ("words", "uses")
"""The kinds of numbers that are bounded. Counts grow, and the speed of a small night is that of loading the models."""
FEW = 20  # new samples; of fewer, a large share may be refused by chance


def find_drift(night: Night, earlier: Sequence[Night], bounds: Drift, max_refused: float) -> str | None:
    """Return why a night's data must not be trained on, or None: one line with the number, its value and the bound.

    Args:
        night: see :func:`stages.report.night.measure_night`.
        earlier: the nights that were trained on, newest first.
        bounds: the section ``drift`` of params.yaml.
        max_refused: ``ingest.max_refused``, which holds for new samples too.
    """
    return _refused_of_new(night, earlier, max_refused) or _far_from_median(night, earlier[: bounds.nights], bounds)


def _refused_of_new(night: Night, earlier: Sequence[Night], limit: float) -> str | None:
    """Check the samples by which the source has grown since the last night that had FEW fewer.

    So a few bad samples every night are seen together once they are many.
    """
    before = next((each for each in earlier if night["counts/source"] - each["counts/source"] >= FEW), None)
    if before is None:
        return None
    new = night["counts/source"] - before["counts/source"]
    refused = night["counts/refused"] - before["counts/refused"]
    if refused / new <= limit:
        return None
    return f"ingest.max_refused = {limit}: of {new:,.0f} new samples {refused:,.0f} were refused ({refused / new:.1%})"


def _far_from_median(night: Night, earlier: Sequence[Night], bounds: Drift) -> str | None:
    if len(earlier) < bounds.min_nights:
        return None
    for name, value in sorted(night.items()):
        norm = median([each[name] for each in earlier if name in each] or [value])
        kind = name.partition("/")[0]
        difference, ratio = abs(value - norm), max(value, norm) / max(min(value, norm), 1)
        for kinds, key, found, bound in (
            (DIFFERENCES, "max_difference", difference, bounds.max_difference),
            (RATIOS, "max_ratio", ratio, bounds.max_ratio),
        ):
            if kind in kinds and bound is not None and found > bound:
                return f"drift.{key} = {bound}: {name} is {value:.3g}, the median of {len(earlier)} nights is {norm:.3g}"
    return None
