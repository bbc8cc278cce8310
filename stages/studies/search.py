"""Search on ladders of values, alike for every system: from the middle outwards, around the best, until that lies inside."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product

from stages.comparison.trials import Settings

OPEN = "the ladder ends, and better values may lie beyond"


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """The values that are tried of a parameter."""

    values: tuple[float, ...]  # ascending
    low: str = OPEN  # what it means that the lowest value is best
    high: str = OPEN  # what it means that the highest value is best

    def end(self, value: float) -> str:
        """Return what it means that ``value`` is best, or "" if it has a neighbour on each side or is the only one."""
        first, *others = self.values
        return self.low if others and value == first else self.high if others and value == others[-1] else ""


Ladders = Mapping[str, Ladder]
"""Parameter → its ladder: all that a system has."""
Point = tuple[int, ...]
"""A setting as the place of each value on its ladder."""


def settings_at(ladders: Ladders, point: Point) -> Settings:
    """Return the values at a point."""
    return {name: ladder.values[place] for (name, ladder), place in zip(ladders.items(), point, strict=True)}


def best_point(tried: Mapping[Point, float]) -> Point:
    """Return the point with the highest criterion; of equal ones, the first that was tried."""
    return max(tried, key=lambda point: tried[point])


def next_point(ladders: Ladders, tried: Mapping[Point, float]) -> Point | None:
    """Return the point to try next: the middle of all ladders, then the untried one nearest to the best so far.

    The distance is Euclidean, in steps along the ladders; of equally near ones, the one with the lower values comes first.

    Args:
        ladders: one or more.
        tried: point → its criterion.

    Returns:
        The point, or None if all were tried.
    """
    points = product(*(range(len(ladder.values)) for ladder in ladders.values()))
    centre = best_point(tried) if tried else tuple(len(ladder.values) // 2 for ladder in ladders.values())
    return min((point for point in points if point not in tried), key=partial(math.dist, centre), default=None)


def is_inside(ladders: Ladders, tried: Mapping[Point, float]) -> bool:
    """Return whether the best lies inside what was tried: along every ladder both neighbours were tried, or the ladder ends."""
    best = best_point(tried)
    for axis, ladder in enumerate(ladders.values()):
        for place in (best[axis] - 1, best[axis] + 1):
            if 0 <= place < len(ladder.values) and (*best[:axis], place, *best[axis + 1 :]) not in tried:
                return False
    return True


def search(ladders: Ladders, criterion: Callable[[Settings], float], at_least: int, tried: dict[Point, float]) -> None:
    """Try further points until ``at_least`` were tried and the best lies inside, or until all were tried.

    Args:
        ladders: one or more.
        criterion: settings → a finite number, higher is better; called once for each point.
        at_least: number of trials, above 0.
        tried: point → its criterion; gets the new ones.
    """
    while len(tried) < at_least or not is_inside(ladders, tried):
        if (point := next_point(ladders, tried)) is None:
            return
        tried[point] = criterion(settings_at(ladders, point))


def search_all(
    systems: Mapping[str, Ladders], criterion: Callable[[str, Settings], float], at_least: int
) -> dict[str, dict[Point, float]]:
    """Search for every system, with as many trials for each as the one that needed most, or all that its ladders allow.

    Args:
        systems: system → its ladders.
        criterion: (system, settings) → a finite number, higher is better.
        at_least: number of trials of each system, above 0.

    Returns:
        System → point → its criterion, in the order of the trials.
    """
    tried: dict[str, dict[Point, float]] = {system: {} for system in systems}
    while True:
        for system, ladders in systems.items():
            search(ladders, partial(criterion, system), at_least, tried[system])
        most = max(map(len, tried.values()))
        if most <= at_least:
            return tried
        at_least = most
