"""Whether two evaluations agree within what another kind of processor may change.

The same commit, parameters and kind of machine give the same bytes. Another instruction set rounds differently, so the
weights differ in their last digits, and single edits with them; the means over all cases hardly move.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.errors import InputError
from stages.core.files import read_json
from stages.metrics.table import METRICS
from stages.report.captions import NAMES

PERCENT = 1.0  # points: a mean over the cases of values on a scale of 100
TOLERANCES: Mapping[str, float] = {
    "clip_score": PERCENT,
    "clip_directional": PERCENT,
    "clip_image": PERCENT,
    "ssim_m_frame": PERCENT,
    "ssim_m_region": PERCENT,
    "ssim_m_bar_frame": PERCENT,
    "ssim_m_bar_region": PERCENT,
    "edit_success": 3.0,  # points: one of 300 cases is a third of a point, and a rank flips at the smallest change
    "frechet_judge_features": 0.5,  # about 7 to 10 here; an estimate from few cases, sensitive to single edits
    "kid_judge_features": 0.01,  # about 0.1 here
    "perceptual_outside": 0.005,  # about 0.15 to 0.4 here
}
"""Metric → the largest difference that is tolerated. A metric that is not named must not differ at all."""
FROZEN = ("judge", "vgg", "base", "segmenter")  # models that no run changes, by their names in metrics.json
LABELS = {metric.key: metric.label for metric in METRICS}


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The score that differs most between two evaluations, measured by its tolerance."""

    system: str
    metric: str
    difference: float  # absolute; infinite where only one of the two is defined
    tolerance: float

    @property
    def is_tolerable(self) -> bool:
        """Whether this difference, and so every smaller one, is within its tolerance."""
        return self.difference <= self.tolerance

    @property
    def size(self) -> float:
        """The difference as a multiple of the tolerance."""
        return self.difference / self.tolerance if self.tolerance else math.inf if self.difference else 0.0

    def __str__(self) -> str:
        """Return a sentence without its full stop."""
        score = f"{LABELS[self.metric]} of {NAMES.get(self.system, self.system)}"
        return f"the largest difference of a score is {self.difference:.2g} ({score}; allowed {self.tolerance:g})"


def read_metrics(path: Path) -> dict[str, Any]:
    """Return the value in a metrics.json.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        metrics: dict[str, Any] = read_json(path)
        for name in ("systems", "cases_digest", "models"):
            metrics[name]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path}: missing or damaged; run the stage evaluate again") from error
    return metrics


def are_comparable(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Return whether two evaluations measured the same: the same systems and cases with the same frozen models."""
    return _measured(first) == _measured(second)


def _measured(metrics: Mapping[str, Any]) -> list[Any]:
    identities = [metrics["models"].get(name, {}).get("identity") for name in FROZEN]
    return [metrics["cases_digest"], sorted(metrics["systems"]), identities]


def largest_difference(recorded: Mapping[str, Any], found: Mapping[str, Any]) -> Difference:
    """Return the score of two comparable evaluations that differs most, measured by its tolerance.

    Args:
        recorded: the value of one metrics.json.
        found: the value of the other.
    """
    return max(
        (
            Difference(
                system=system,
                metric=metric,
                difference=_distance(recorded["systems"][system].get(metric), found["systems"][system].get(metric)),
                tolerance=TOLERANCES.get(metric, 0.0),
            )
            for system in recorded["systems"]
            for metric in LABELS
        ),
        key=lambda difference: difference.size,
    )


def _distance(first: float | None, second: float | None) -> float:
    if first is None or second is None:
        return 0.0 if first is second else math.inf
    return abs(first - second)
