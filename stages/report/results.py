"""The results as rows and cells of text, ready for a page, Markdown or a terminal.

Everything is made from the content of metrics.json, which ``summarise`` returns.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.core.errors import InputError
from stages.metrics.intervals import MIN_CASES
from stages.metrics.table import METRICS, Metric
from stages.report.captions import NAMES

ARROWS = {"higher": " ↑", "lower": " ↓", "": ""}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A number as text."""

    value: str
    interval: str  # empty if there is none
    undefined: int  # cases without this metric
    best: bool

    @property
    def text(self) -> str:
        """The value, its interval, and the number of undefined cases if there are any."""
        left_out = f"({self.undefined} undefined)" if self.undefined else ""
        return " ".join(part for part in (self.value, self.interval, left_out) if part)


@dataclass(frozen=True, kw_only=True)
class ResultRow:
    """A system, or a pair of them, and its cells in the order of ``measured``."""

    name: str
    cells: tuple[Cell, ...]


def heading(metric: Metric) -> str:
    """Return the title of a metric's column; an arrow points to better."""
    return metric.label + ARROWS[metric.better]


def measured(metrics: Mapping[str, Any]) -> list[Metric]:
    """Return the rows of METRICS that an evaluation has, in their order: some need a model that it may do without.

    Args:
        metrics: the content of metrics.json.
    """
    return [metric for metric in METRICS if all(metric.key in scores for scores in metrics["systems"].values())]


LABELS = {metric.key: metric.label for metric in METRICS}
HEADINGS = {metric.key: heading(metric) for metric in METRICS}


def result_rows(metrics: Mapping[str, Any], names: Mapping[str, str] = NAMES) -> list[ResultRow]:
    """Return a row for each system of ``names``, with the best value of each column marked unless all look alike.

    A value of fewer cases than MIN_CASES is not the best, and has no interval.

    Raises:
        InputError: a system is named but was not scored, or scored but is not named.
    """
    if set(names) != set(metrics["systems"]):
        raise InputError(f"the table shows {sorted(names)}, but the scored systems are {sorted(metrics['systems'])}")

    def enough(system: str, metric: Metric) -> bool:
        return bool(metrics["cases"] - metrics["undefined"][system][metric.key] >= MIN_CASES)

    shown = measured(metrics)
    best = {
        metric.key: _best(metric, [metrics["systems"][system][metric.key] for system in names if enough(system, metric)])
        for metric in shown
    }

    def cell(system: str, metric: Metric) -> Cell:
        value, is_judged = _number(metrics["systems"][system][metric.key], metric), enough(system, metric)
        return Cell(
            value=value,
            interval=_interval(metrics["intervals"][system][metric.key], metric) if is_judged else "",
            undefined=metrics["undefined"][system][metric.key],
            best=is_judged and value == best[metric.key],
        )

    return [ResultRow(name=name, cells=tuple(cell(system, metric) for metric in shown)) for system, name in names.items()]


def difference_rows(metrics: Mapping[str, Any], names: Mapping[str, str] = NAMES) -> list[ResultRow]:
    """Return a row for each pair of systems: the paired difference of the later and the earlier one.

    A cell is marked as best if its whole interval is on the better side; one of fewer cases than MIN_CASES has no interval.
    """
    shown = measured(metrics)
    return [
        ResultRow(
            name=f"{names[later]} − {names[earlier]}",
            cells=tuple(_difference(found[metric.key], metric, metrics["cases"]) for metric in shown if metric.key in found),
        )
        for later, earlier, found in differences(metrics, names)
    ]


def differences(metrics: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield (later system, earlier system, metric → difference) in the order of ``names``, which a JSON file loses."""
    for later in names:
        for earlier in names:
            if (found := metrics["differences"].get(later, {}).get(earlier)) is not None:
                yield later, earlier, found


def _best(metric: Metric, found: Sequence[float | None]) -> str | None:
    """Return the best value as it is shown, so that values that look alike are marked alike."""
    values = [value for value in found if value is not None]
    if not metric.better or len({_number(value, metric) for value in values}) < 2:
        return None
    return _number(max(values) if metric.better == "higher" else min(values), metric)


def _difference(interval: Mapping[str, float | None], metric: Metric, cases: int) -> Cell:
    undefined = int(interval["undefined"] or 0)
    low, high = (interval["low"], interval["high"]) if cases - undefined >= MIN_CASES else (None, None)
    better = (low is not None and low > 0) if metric.better == "higher" else (high is not None and high < 0)
    return Cell(
        value=_number(interval["value"], metric, sign="+"),
        interval=_interval([low, high], metric, sign="+"),
        undefined=undefined,
        best=bool(metric.better) and better,
    )


def _number(value: float | None, metric: Metric, sign: str = "") -> str:
    return "undefined" if value is None else f"{value:{sign}z.{metric.decimals}f}"


def _interval(bounds: Sequence[float | None], metric: Metric, sign: str = "") -> str:
    low, high = bounds
    if low is None or high is None:
        return ""
    return f"[{_number(low, metric, sign)}, {_number(high, metric, sign)}]"
