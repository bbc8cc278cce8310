"""Whether two evaluations agree within what another kind of processor may change.

The same commit, parameters and kind of machine give the same bytes. Another instruction set rounds differently, so the
weights differ in their last digits, and single edits with them; the means over all cases hardly move.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.errors import InputError
from stages.core.files import read_json
from stages.metrics.table import ALIASES, METRICS
from stages.report.captions import NAMES
from stages.report.results import LABELS

FROZEN = ("judge", "vgg", "base", "segmenter")  # models that no run changes, by their names in metrics.json
OPTIONAL = ("inception",)  # the same, which an evaluation may do without; the metrics that need them are not compared then


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far one score differs between two evaluations."""

    system: str
    metric: str
    difference: float  # absolute; infinite where only one of the two is defined
    tolerance: float

    @property
    def size(self) -> float:
        """The difference as a multiple of the tolerance."""
        return self.difference / self.tolerance if self.tolerance else math.inf if self.difference else 0.0

    def __str__(self) -> str:
        """Return the difference, its score and its tolerance."""
        score = f"{LABELS[self.metric]} of {NAMES.get(self.system, self.system)}"
        return f"{self.difference:.2g} ({score}; allowed {self.tolerance:g})"


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How the scores of two comparable evaluations differ."""

    largest: Difference  # measured by its tolerance
    not_compared: tuple[str, ...]  # keys of the metrics that only one evaluation has, or that the table no longer has

    @property
    def is_tolerable(self) -> bool:
        """Whether every difference is within its tolerance."""
        return self.largest.difference <= self.largest.tolerance

    def __str__(self) -> str:
        """Return a sentence without its full stop."""
        omitted = f"; not compared: {', '.join(LABELS.get(key, key) for key in self.not_compared)}" if self.not_compared else ""
        return f"the largest difference of a score is {self.largest}{omitted}"


def read_metrics(path: Path) -> dict[str, Any]:
    """Return the value in a metrics.json.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        metrics: dict[str, Any] = read_json(path)
        for name in ("cases", "systems", "intervals", "undefined", "cases_digest", "models"):
            metrics[name]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path}: missing or damaged; run the stage evaluate again") from error
    return metrics


def are_comparable(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Return whether two evaluations scored the same systems and cases with the same frozen models and a common metric."""
    models = [*FROZEN, *(name for name in OPTIONAL if name in first["models"] and name in second["models"])]
    are_alike = _measured(first, models) == _measured(second, models)
    return are_alike and any(metric.key in _shared_keys(first, second) for metric in METRICS)


def _measured(metrics: Mapping[str, Any], models: Iterable[str]) -> list[Any]:
    identities = [metrics["models"].get(name, {}).get("identity") for name in models]
    return [metrics["cases_digest"], sorted(metrics["systems"]), identities]


def compare_scores(recorded: Mapping[str, Any], found: Mapping[str, Any]) -> Agreement:
    """Compare two comparable evaluations in every metric of the table that both have.

    Args:
        recorded: the value of one metrics.json.
        found: the value of the other.
    """
    shared = _shared_keys(recorded, found)
    compared = [metric for metric in METRICS if metric.key in shared]
    differences = [
        Difference(
            system=system,
            metric=metric.key,
            difference=_distance(recorded["systems"][system][metric.key], found["systems"][system][metric.key]),
            tolerance=metric.tolerance,
        )
        for system in recorded["systems"]
        for metric in compared
    ]
    known = set().union(*_score_keys(recorded), *_score_keys(found)) - set(ALIASES)
    return Agreement(
        largest=max(differences, key=lambda difference: difference.size),
        not_compared=tuple(sorted(known - {metric.key for metric in compared})),
    )


def _shared_keys(first: Mapping[str, Any], second: Mapping[str, Any]) -> set[str]:
    """Return the keys that every system of both evaluations has a score for."""
    keys = [*_score_keys(first), *_score_keys(second)]
    return set.intersection(*keys) if keys else set()


def _score_keys(metrics: Mapping[str, Any]) -> Iterable[set[str]]:
    return (set(scores) for scores in metrics["systems"].values())


def _distance(first: float | None, second: float | None) -> float:
    if first is None or second is None:
        return 0.0 if first is second else math.inf
    return abs(first - second)
