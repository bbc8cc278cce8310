"""The results as a table: for reading (Markdown, console) and for computing with (CSV).

All are made from the value in metrics.json, as ``stages.metrics.scores.summarise`` returns it.
"""

import csv
import io
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.errors import InputError
from stages.core.files import written_aside
from stages.metrics.scores import METRICS, Metric, SystemScores

NAMES = {
    "sdedit": "SDEdit",
    "inpainting": "Inpainting (true masks)",
    "instruct_pix2pix": "InstructPix2Pix",
    "iedit": "iEdit",
    "iedit_m": "iEdit-M",
}
"""System → how it is shown, in this order."""
ARROWS = {"higher": " ↑", "lower": " ↓", "": ""}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A number of the table as text; empty interval where there is none."""

    value: str
    interval: str
    undefined: int  # cases left out
    best: bool

    @property
    def text(self) -> str:
        """The value with its interval and, where cases are left out, their number."""
        left_out = f"({self.undefined} undefined)" if self.undefined else ""
        return " ".join(part for part in (self.value, self.interval, left_out) if part)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A system and its cells in the order of METRICS."""

    name: str
    cells: tuple[Cell, ...]


def heading(metric: Metric) -> str:
    """Return a column's title with the arrow towards better."""
    return metric.label + ARROWS[metric.better]


def result_rows(metrics: Mapping[str, Any], names: Mapping[str, str] = NAMES) -> list[Row]:
    """Return a row for each system of ``names``; the best value of a column is marked, unless all are alike.

    Raises:
        InputError: a system is named but was not scored, or scored but is not named.
    """
    if set(names) != set(metrics["systems"]):
        raise InputError(f"the table shows {sorted(names)}, but the scored systems are {sorted(metrics['systems'])}")
    best = {metric.key: _best(metric, metrics["systems"]) for metric in METRICS}
    return [
        Row(
            name=name,
            cells=tuple(
                Cell(
                    value=_number(metrics["systems"][system][metric.key], metric),
                    interval=_interval(metrics["intervals"][system][metric.key], metric),
                    undefined=metrics["undefined"][system][metric.key],
                    best=_number(metrics["systems"][system][metric.key], metric) == best[metric.key],
                )
                for metric in METRICS
            ),
        )
        for system, name in names.items()
    ]


def difference_rows(metrics: Mapping[str, Any], names: Mapping[str, str] = NAMES) -> list[tuple[str, list[Cell]]]:
    """Return (pair, cells in the order of METRICS): how each system differs from each one before it, case by case.

    A cell is marked where the whole interval is on the better side.
    """
    return [
        (
            f"{names[later]} − {names[earlier]}",
            [_difference(found[metric.key], metric) for metric in METRICS if metric.key in found],
        )
        for later, others in metrics["differences"].items()
        for earlier, found in others.items()
    ]


def markdown_differences(metrics: Mapping[str, Any], names: Mapping[str, str] = NAMES) -> str:
    """Return the differences of all pairs as a Markdown table; in bold where the whole interval is on the better side."""
    lines = ["| Pair | " + " | ".join(heading(metric) for metric in METRICS) + " |", "|---|" + "---:|" * len(METRICS)]
    for pair, cells in difference_rows(metrics, names):
        shown = [cell.text.replace(cell.value, f"**{cell.value}**", 1) if cell.best else cell.text for cell in cells]
        lines.append(f"| {pair} | " + " | ".join(shown) + " |")
    note = f"n = {metrics['cases']} cases. Paired differences with 95 % intervals; the better side in bold."
    return "\n".join([*lines, "", note, ""])


def csv_differences(metrics: Mapping[str, Any]) -> str:
    """Return the differences as CSV at full precision: first, second, metric, value, low, high, n, undefined."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    columns = ["value", "low", "high", "n", "undefined"]
    writer.writerow(["first", "second", "metric", *columns])
    for later, others in metrics["differences"].items():
        for earlier, found in others.items():
            for metric in METRICS:
                if metric.key in found:
                    writer.writerow([later, earlier, metric.key, *(found[metric.key][column] for column in columns)])
    return lines.getvalue()


def markdown_table(metrics: Mapping[str, Any], names: Mapping[str, str] = NAMES) -> str:
    """Return the results as a Markdown table; the best of a column in bold."""
    lines = [
        "| System | " + " | ".join(heading(metric) for metric in METRICS) + " |",
        "|---|" + "---:|" * len(METRICS),
    ]
    for row in result_rows(metrics, names):
        cells = [cell.text.replace(cell.value, f"**{cell.value}**", 1) if cell.best else cell.text for cell in row.cells]
        lines.append(f"| {row.name} | " + " | ".join(cells) + " |")
    note = f"n = {metrics['cases']} cases. 95 % intervals: bootstrap over cases; for Fréchet and KID, jackknife."
    return "\n".join([*lines, "", note, ""])


def csv_table(metrics: Mapping[str, Any], names: Mapping[str, str] = NAMES) -> str:
    """Return the results as CSV at full precision: system, metric, value, low, high, cases, undefined; one number a line."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["system", "metric", "value", "low", "high", "cases", "undefined"])
    for system in names:
        for metric in METRICS:
            value, interval = metrics["systems"][system][metric.key], metrics["intervals"][system][metric.key]
            writer.writerow([system, metric.key, value, *interval, metrics["cases"], metrics["undefined"][system][metric.key]])
    return lines.getvalue()


def console_table(metrics: Mapping[str, Any], names: Mapping[str, str] = NAMES) -> str:
    """Return the results for a terminal: metrics down, systems across, the best of each with a star."""
    rows = result_rows(metrics, names)
    table = [["", *(row.name for row in rows)]]
    for metric, cells in zip(METRICS, zip(*(row.cells for row in rows), strict=True), strict=True):
        table.append([heading(metric), *(cell.text + (" *" if cell.best else "") for cell in cells)])
    widths = [max(map(_width, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(text + " " * (width - _width(text)) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]
    return "\n".join([*lines, f"n = {metrics['cases']} cases; [95 % interval]; * best"])


def write_tables(folder: Path, metrics: Mapping[str, Any], names: Mapping[str, str] = NAMES) -> None:
    """Write the tables of results and of pairs, as Markdown and as CSV, into ``folder`` and print the console's table."""
    texts = {
        "table.md": markdown_table(metrics, names),
        "table.csv": csv_table(metrics, names),
        "pairs.md": markdown_differences(metrics, names),
        "pairs.csv": csv_differences(metrics),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    print(console_table(metrics, names))


def write_case_scores(path: Path, keys: Sequence[str], scores: Mapping[str, SystemScores]) -> None:
    """Write every system's score of every case as CSV, for plots and for looking into; undefined ones are empty.

    Args:
        path: of the file.
        keys: of the cases, in the order they were scored.
        scores: system → its scores.
    """
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    columns = list(next(iter(scores.values())).per_case)
    writer.writerow(["case", "system", *columns])
    for system, result in scores.items():
        values = zip(*(result.per_case[column] for column in columns), strict=True)
        for key, numbers in zip(keys, values, strict=True):
            writer.writerow([key, system, *("" if math.isnan(number) else f"{number:.6g}" for number in numbers)])
    write_text(path, lines.getvalue())


def _best(metric: Metric, systems: Mapping[str, Mapping[str, float | None]]) -> str | None:
    """Return the best value as it is shown: what looks alike is alike."""
    values = [value for scores in systems.values() if (value := scores[metric.key]) is not None]
    if not metric.better or len({_number(value, metric) for value in values}) < 2:
        return None
    return _number(max(values) if metric.better == "higher" else min(values), metric)


def _difference(interval: Mapping[str, float | None], metric: Metric) -> Cell:
    low, high = interval["low"], interval["high"]
    better = (low is not None and low > 0) if metric.better == "higher" else (high is not None and high < 0)
    return Cell(
        value=_number(interval["value"], metric, sign="+"),
        interval=_interval([low, high], metric, sign="+"),
        undefined=int(interval["undefined"] or 0),
        best=bool(metric.better) and better,
    )


def _number(value: float | None, metric: Metric, sign: str = "") -> str:
    return "undefined" if value is None else f"{value:{sign}z.{metric.decimals}f}"


def _interval(bounds: Sequence[float | None], metric: Metric, sign: str = "") -> str:
    low, high = bounds
    if low is None or high is None:
        return ""
    return f"[{_number(low, metric, sign)}, {_number(high, metric, sign)}]"


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes: a combining mark, as over M̄, takes none."""
    return sum(not unicodedata.combining(letter) for letter in text)


def write_text(path: Path, text: str) -> None:
    """Write a text, whole or not at all."""
    with written_aside(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
