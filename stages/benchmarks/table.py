"""The results of a benchmark: its authors' columns, the systems beside published rows, and every case."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.benchmarks.catalogue import Benchmark
from stages.benchmarks.measures import Measure
from stages.core.files import write_text
from stages.report.captions import failed_edits
from stages.report.formats import csv_text

NOTHING = "–"
COMPARE = "They compare with the other rows only for the same cases, size and models."


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What the systems scored on the same n cases."""

    keys: Sequence[str]  # of the cases
    kinds: Sequence[str]  # of edit
    values: Mapping[str, Mapping[str, Sequence[float]]]  # system → measure (the same for all) → n values, NaN where undefined
    failed: Mapping[str, Sequence[bool]]  # system → n times whether the edit failed: its mask is empty
    models: Mapping[str, str]  # role → the model that measures


def write_results(folder: Path, benchmark: Benchmark, scores: Scores, names: Mapping[str, str]) -> str:
    """Write table.md, table.csv and cases.csv, and return the text of the first.

    Args:
        folder: where to.
        benchmark: what was run.
        scores: of its cases.
        names: system → its name.
    """
    text = markdown(benchmark, scores, names)
    write_text(folder / "table.md", text)
    write_text(folder / "table.csv", _means(scores))
    write_text(folder / "cases.csv", _cases(scores))
    return text


def markdown(benchmark: Benchmark, scores: Scores, names: Mapping[str, str]) -> str:
    """Return the results as Markdown."""
    rows = [[names[system], *_cells(benchmark.measures, values)] for system, values in scores.values.items()]
    published = benchmark.published_rows()
    quoted = [
        [f"*{system}*", *(f"*{value:.{measure.decimals}f}*" for measure, value in zip(benchmark.measures, values, strict=True))]
        for system, values in published
    ]
    lines = [f"# {benchmark.title}", "", *_table(benchmark.measures, [*rows, *quoted]), "", _caption(benchmark, scores, names)]
    if published:
        lines += ["", f"In italics, as published: {benchmark.source}. {COMPARE}"]
    if benchmark.others:
        others = [[names[system], *_cells(benchmark.others, values)] for system, values in scores.values.items()]
        lines += ["", f"## {benchmark.others_title}\n\n{benchmark.others_note}", "", *_table(benchmark.others, others)]
    return "\n".join([*lines, ""])


def _table(measures: Sequence[Measure], rows: Sequence[Sequence[str]]) -> list[str]:
    head = f"| System | {' | '.join(measure.heading for measure in measures)} |"
    return [head, "|---|" + "---:|" * len(measures), *(f"| {' | '.join(row)} |" for row in rows)]


def _cells(measures: Sequence[Measure], values: Mapping[str, Sequence[float]]) -> list[str]:
    return [_cell(measure, mean(values.get(measure.key, ()))) for measure in measures]


def _cell(measure: Measure, value: float) -> str:
    if math.isnan(value):
        return NOTHING
    return "∞" if math.isinf(value) else f"{measure.scale * value:.{measure.decimals}f}"


def mean(values: Sequence[float]) -> float:
    """Return the mean of the defined values; NaN if there is none."""
    defined = [value for value in values if not math.isnan(value)]
    return float(np.mean(defined)) if defined else math.nan


def _undefined(values: Sequence[float]) -> int:
    return sum(map(math.isnan, values))


def _undefined_by_mask(scores: Scores, measure: str) -> int:
    """Return on how many cases a measure is undefined for a system whose edit did not fail: because of the case's mask."""
    rows = {
        row
        for system, values in scores.values.items()
        for row, value in enumerate(values[measure])
        if math.isnan(value) and not scores.failed[system][row]
    }
    return len(rows)


def _caption(benchmark: Benchmark, scores: Scores, names: Mapping[str, str]) -> str:
    values = next(iter(scores.values.values()))
    undefined = {each.label: _undefined_by_mask(scores, each.key) for each in benchmark.measures if each.key in values}
    missing = ", ".join(f"{label} {count}" for label, count in undefined.items() if count)
    counted = f" Undefined, and left out: {missing}." if missing else ""
    unmeasured = ", ".join(each.label for each in benchmark.measures if each.key not in values)
    left = f" {NOTHING}: no model is named for {unmeasured}." if unmeasured else ""
    models = ", ".join(f"{role} {name}" for role, name in scores.models.items())
    counts = {system: sum(failed) for system, failed in scores.failed.items()}
    failed = failed_edits({"failed": counts, "cases": len(scores.keys)}, names)
    return (
        f"n = {len(scores.keys)} cases. Measured by {models}.{counted}{left}{f' {failed}' if failed else ''} {benchmark.note}"
    )


def _means(scores: Scores) -> str:
    rows = [
        [system, measure, mean(values), len(values), _undefined(values)]
        for system, measured in scores.values.items()
        for measure, values in measured.items()
    ]
    return csv_text(["system", "metric", "value", "cases", "undefined"], rows)


def _cases(scores: Scores) -> str:
    measures = list(next(iter(scores.values.values())))
    rows = [
        [
            *(key, kind, system),
            *("" if math.isnan(values[row]) else f"{values[row]:.6g}" for values in measured.values()),
            int(scores.failed[system][row]),
        ]
        for system, measured in scores.values.items()
        for row, (key, kind) in enumerate(zip(scores.keys, scores.kinds, strict=True))
    ]
    return csv_text(["case", "kind", "system", *measures, "failed"], rows)
