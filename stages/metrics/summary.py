"""The summary of several systems' scores: means, intervals, and paired differences, as metrics.json holds them."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np

from stages.common.seeds import derive_seed
from stages.core.errors import InputError
from stages.metrics.intervals import Interval, bootstrap, jackknife_interval, paired_difference
from stages.metrics.scores import SystemScores
from stages.metrics.table import ALIASES

Differences = dict[str, dict[str, dict[str, Interval]]]
"""Later system → earlier system → metric → later minus earlier."""


def summarise(
    scores: Mapping[str, SystemScores],
    *,
    resamples: int,
    seed: int,
    models: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the value of metrics.json; every number is finite, or null where no case defines it.

    ``systems`` holds values, ``intervals`` their 95 % intervals, ``undefined`` how many cases each leaves out, ``failed``
    how many edits of a system failed, ``cases`` the number of cases, ``models`` the models behind the numbers.
    ``differences`` holds, for every system and each one before it, the mean difference over the cases where both are
    defined, or the difference of the two distances.

    Args:
        scores: system → its scores; all of the same cases in the same order.
        resamples: how often the bootstrap draws the cases.
        seed: the seed of the pipeline.
        models: JSON, for example ``{"judge": {"name": …, "identity": …}}``.

    Raises:
        InputError: the systems have different numbers of cases.
    """
    counts = {system: len(result) for system, result in scores.items()}
    if len(set(counts.values())) != 1:
        raise InputError(f"scores of systems on different cases: {counts}")

    def draws(metric: str) -> int:  # one seed for all systems, so that they are resampled alike
        return derive_seed(seed, "bootstrap", metric)

    systems = {
        system: {name: bootstrap(values, resamples, draws(name)) for name, values in result.per_case.items()}
        | dict(result.of_set)
        for system, result in scores.items()
    }
    differences = _differences(scores, resamples, draws)
    return {
        "cases": next(iter(counts.values())),
        "systems": _tree(systems, lambda interval: _finite(interval.value)),
        "intervals": _tree(systems, lambda interval: [_finite(interval.low), _finite(interval.high)]),
        "undefined": _tree(systems, lambda interval: interval.undefined),
        "failed": {system: int(result.failed.sum()) for system, result in scores.items()},
        "differences": {
            later: {
                earlier: {name: _as_json(interval) for name, interval in found.items()} for earlier, found in others.items()
            }
            for later, others in differences.items()
        },
        "models": dict(models),
    }


def _differences(scores: Mapping[str, SystemScores], resamples: int, draws: Callable[[str], int]) -> Differences:
    differences: Differences = {}
    for earlier, later in combinations(scores, 2):
        first, second = scores[later], scores[earlier]
        of_cases = {
            name: paired_difference(values, second.per_case[name], resamples, draws(name))
            for name, values in first.per_case.items()
        }
        of_sets = {
            name: jackknife_interval(
                first.of_set[name].value - second.of_set[name].value, without - second.without[name], len(first)
            )
            for name, without in first.without.items()
        }
        differences.setdefault(later, {})[earlier] = of_cases | of_sets
    return differences


def _tree(systems: Mapping[str, Mapping[str, Interval]], take: Callable[[Interval], Any]) -> dict[str, dict[str, Any]]:
    """Return system → metric → ``take(interval)``, short names included."""
    return {
        system: {name: take(results[ALIASES.get(name, name)]) for name in (*results, *ALIASES)}
        for system, results in systems.items()
    }


def _as_json(interval: Interval) -> dict[str, float | int | None]:
    return {name: _finite(value) for name, value in asdict(interval).items()}


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
