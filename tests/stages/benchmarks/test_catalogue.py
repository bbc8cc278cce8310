"""What the catalogue says of the benchmarks."""

import math

import pytest

from stages.benchmarks.catalogue import BENCHMARKS
from stages.benchmarks.table import Scores, markdown

NONE = {"sdedit": [False] * 2, "iedit": [False] * 2}
"""No edit failed."""


def test_published_rows_stand_below_in_the_authors_columns():
    benchmark = BENCHMARKS["pie-bench"]
    values = {measure.key: [0.5, math.nan] for measure in (*benchmark.measures, *benchmark.others)}
    scores = Scores(keys=["a", "b"], kinds=["random"] * 2, values={"sdedit": values}, failed=NONE, models={"clip": "judge"})
    lines = markdown(benchmark, scores, {"sdedit": "SDEdit"}).splitlines()
    assert lines[4] == "| SDEdit | 500.00 | 0.50 | 500.00 | 5000.00 | 50.00 | 0.50 | 0.50 |"
    quoted = [line for line in lines if line.startswith("| *")]
    assert (
        quoted[4]
        == "| *Prompt-to-Prompt, PnP Inversion* | *11.65* | *27.22* | *54.55* | *32.86* | *84.76* | *25.02* | *22.10* |"
    )
    assert len(quoted) == 11
    assert any("Ju et al., PnP Inversion, ICLR 2024, Table 1" in line for line in lines)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("magic-brush", "| *SDEdit* | *0.1014* | *0.0278* | *0.8526* | *0.7726* | *0.2777* |"),
        ("magic-brush-multi", "| *SDEdit* | *0.1616* | *0.0602* | *0.7933* | *0.6212* | *0.2694* |"),
    ],
)
def test_magic_brush_stands_beside_its_authors_rows(name, row):
    benchmark = BENCHMARKS[name]
    values = {measure.key: [0.5] for measure in (*benchmark.measures, *benchmark.others)}
    scores = Scores(keys=["a"], kinds=["turn 1"], values={"sdedit": values}, failed=NONE, models={"clip": "judge"})
    lines = markdown(benchmark, scores, {"sdedit": "SDEdit"}).splitlines()
    assert row in lines
    assert any("Zhang et al., MagicBrush, NeurIPS 2023, Table 2" in line for line in lines)
    assert lines[-1] == "| SDEdit | 0.5000 |"
    assert "## Against descriptions of the whole picture" in lines


@pytest.mark.parametrize("name", BENCHMARKS)
def test_keys_of_columns_are_unique_and_sources_are_given(name):
    benchmark = BENCHMARKS[name]
    keys = [measure.key for measure in (*benchmark.measures, *benchmark.others)]
    assert len(set(keys)) == len(keys)
    assert bool(benchmark.published) == bool(benchmark.source)
    assert bool(benchmark.others) == bool(benchmark.others_title) == bool(benchmark.others_note)
    assert all(len(values) == len(benchmark.measures) for _, values in benchmark.published_rows())


def test_infinite_and_undefined_values_are_shown_as_such():
    benchmark = BENCHMARKS["edit-bench"]
    values = {"clip_score": [math.inf, 1.0], "r_precision": [math.nan, math.nan]}
    scores = Scores(keys=["a", "b"], kinds=["full"] * 2, values={"iedit": values}, failed=NONE, models={})
    assert "| iEdit | ∞ | – |" in markdown(benchmark, scores, {"iedit": "iEdit"})
