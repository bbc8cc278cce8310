"""The results as Markdown and on the console for reading, and as CSV for computing."""

import csv
import io
import math
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.core.files import remove, write_json, write_text
from stages.metrics.scores import SystemScores
from stages.metrics.table import METRICS
from stages.report.captions import DEFINITIONS, NAMES, failed_edits, too_few
from stages.report.results import ResultRow, difference_rows, differences, heading, measured, result_rows

HEADLINES = ("clip_score", "clip_directional", "edit_success", "fid", "frechet_judge_features", "ssim_m_bar_frame")
DECIMALS = {metric.key: metric.decimals for metric in METRICS}


def write_tables(folder: Path, metrics: Mapping[str, Any], names: Mapping[str, str] = NAMES, note: str = "") -> None:
    """Write the results and the differences of all pairs as Markdown and CSV, and print the results.

    Args:
        folder: gets table.md, table.csv, pairs.md and pairs.csv.
        metrics: the content of metrics.json.
        names: system → its name.
        note: one more sentence for the captions.
    """
    write_text(folder / "table.md", markdown_table(metrics, names, note))
    write_text(folder / "table.csv", csv_table(metrics, names))
    write_text(folder / "pairs.md", markdown_differences(metrics, names, note))
    write_text(folder / "pairs.csv", csv_differences(metrics, names))
    print(console_table(metrics, names))


def write_scores(folder: Path, metrics: Mapping[str, Any]) -> None:
    """Write a small file for each system, which ``dvc metrics show`` prints as a row, and remove those of other systems.

    Args:
        folder: gets SYSTEM.json: HEADLINES at the tables' precision; an undefined one is left out.
        metrics: the content of metrics.json.
    """
    remove(folder)
    shown = [metric for metric in measured(metrics) if metric.key in HEADLINES]
    for system, scores in metrics["systems"].items():
        found = {metric.key: scores[metric.key] for metric in shown if scores[metric.key] is not None}
        write_json(folder / f"{system}.json", {key: round(found[key], DECIMALS[key]) for key in found})


def write_case_scores(path: Path, keys: Sequence[str], scores: Mapping[str, SystemScores]) -> None:
    """Write every system's score of every case, and whether its edit failed, as CSV; undefined scores are empty.

    Args:
        path: the CSV file.
        keys: keys of the cases, in the order of their scores.
        scores: system → its scores.
    """
    columns = list(next(iter(scores.values())).per_case)
    lines = [
        [key, system, *("" if math.isnan(number) else f"{number:.6g}" for number in numbers), int(failed)]
        for system, result in scores.items()
        for key, failed, *numbers in zip(keys, result.failed, *(result.per_case[column] for column in columns), strict=True)
    ]
    write_text(path, csv_text(["case", "system", *columns, "failed"], lines))


def markdown_table(metrics: Mapping[str, Any], names: Mapping[str, str] = NAMES, note: str = "") -> str:
    """Return the results as a Markdown table with its caption; the best of each column is bold."""
    caption = f"n = {metrics['cases']} cases. 95 % intervals: bootstrap over cases; jackknife for Fréchet and KID."
    failed = failed_edits(metrics, names)
    return _markdown("System", metrics, result_rows(metrics, names), too_few(metrics["cases"]) or caption, failed, note)


def markdown_differences(metrics: Mapping[str, Any], names: Mapping[str, str] = NAMES, note: str = "") -> str:
    """Return the differences of all pairs as a Markdown table; bold if the whole interval is on the better side."""
    caption = (
        f"n = {metrics['cases']} cases. Paired differences with 95 % intervals; bold where the interval is on the better side."
    )
    failed = failed_edits(metrics, names)
    return _markdown("Pair", metrics, difference_rows(metrics, names), too_few(metrics["cases"]) or caption, failed, note)


def csv_table(metrics: Mapping[str, Any], names: Mapping[str, str] = NAMES) -> str:
    """Return the results as CSV at full precision, one number per line."""
    lines = [
        [
            system,
            metric.key,
            metrics["systems"][system][metric.key],
            *metrics["intervals"][system][metric.key],
            metrics["cases"],
            metrics["undefined"][system][metric.key],
        ]
        for system in names
        for metric in measured(metrics)
    ]
    return csv_text(["system", "metric", "value", "low", "high", "cases", "undefined"], lines)


def csv_differences(metrics: Mapping[str, Any], names: Mapping[str, str] = NAMES) -> str:
    """Return the differences of all pairs, first minus second, as CSV at full precision."""
    columns = ["value", "low", "high", "n", "undefined"]
    lines = [
        [later, earlier, metric.key, *(found[metric.key][column] for column in columns)]
        for later, earlier, found in differences(metrics, names)
        for metric in measured(metrics)
        if metric.key in found
    ]
    return csv_text(["first", "second", "metric", *columns], lines)


def console_table(metrics: Mapping[str, Any], names: Mapping[str, str] = NAMES) -> str:
    """Return the results for a terminal: metrics down, systems across, a star at the best of each metric."""
    rows = result_rows(metrics, names)
    table = [["", *(row.name for row in rows)]]
    for metric, cells in zip(measured(metrics), zip(*(row.cells for row in rows), strict=True), strict=True):
        table.append([heading(metric), *(cell.text + (" *" if cell.best else "") for cell in cells)])
    widths = [max(map(_width, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(text + " " * (width - _width(text)) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]
    caption = too_few(metrics["cases"]) or f"n = {metrics['cases']} cases; [95 % interval]; * best"
    return "\n".join(filter(None, [*lines, caption, failed_edits(metrics, names)]))


def summary_table(metrics: Mapping[str, Any], names: Mapping[str, str] = NAMES) -> str:
    """Return the results for a terminal of 80 columns: as :func:`console_table`, without intervals."""
    rows = result_rows(metrics, names)
    heads = [row.name.partition(" (") for row in rows]
    table = [["", *(f"{name} " for name, _, _ in heads)], ["", *(f"({more} " if more else "" for _, _, more in heads)]]
    for metric, cells in zip(measured(metrics), zip(*(row.cells for row in rows), strict=True), strict=True):
        table.append([heading(metric), *(cell.value + ("*" if cell.best else " ") for cell in cells)])
    widths = [max(map(_width, column)) for column in zip(*table, strict=True)]
    lines = [
        (label + " " * (widths[0] - _width(label) + 1) + "".join(map(str.rjust, texts, widths[1:]))).rstrip()
        for label, *texts in table
    ]
    caption = too_few(metrics["cases"]) or f"n = {metrics['cases']} cases; * best"
    return "\n".join([*filter(None, lines), caption, *textwrap.wrap(failed_edits(metrics, names), 80)])


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a CSV file with a header; lines end with a newline alone."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return lines.getvalue()


def _markdown(first: str, metrics: Mapping[str, Any], rows: Sequence[ResultRow], *notes: str) -> str:
    headings = [heading(metric) for metric in measured(metrics)]
    lines = [f"| {first} | {' | '.join(headings)} |", "|---|" + "---:|" * len(headings)]
    for row in rows:
        cells = [cell.text.replace(cell.value, f"**{cell.value}**", 1) if cell.best else cell.text for cell in row.cells]
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", " ".join(filter(None, (*notes, DEFINITIONS))), ""])


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes: a combining mark, as over M̄, takes none."""
    return sum(not unicodedata.combining(letter) for letter in text)
