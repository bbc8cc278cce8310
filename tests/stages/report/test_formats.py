"""Markdown, CSV and console tables."""

import copy
import csv
import io
import re
from dataclasses import replace

import numpy as np
import pytest

from stages.core.errors import InputError
from stages.core.files import read_json
from stages.metrics.table import METRICS
from stages.report.formats import (
    HEADLINES,
    console_table,
    csv_table,
    markdown_differences,
    markdown_table,
    summary_table,
    write_case_scores,
    write_scores,
    write_tables,
)
from tests.support.results import SCORES


def test_markdown_has_a_column_for_each_metric(metrics):
    lines = markdown_table(metrics).splitlines()
    assert {line.count("|") for line in lines[:7]} == {len(METRICS) + 2}
    assert "**" in lines[6]
    assert "(2 undefined)" in lines[2]
    assert lines[-1].startswith("n = 20 cases")


@pytest.mark.parametrize("table", [markdown_table, markdown_differences])
def test_captions_define_judge_draft_and_edit_success(metrics, table):
    caption = table(metrics, note="Drawn.").splitlines()[-1]
    for words in ("Drawn.", "The judge is ", "Edit success is ", "A draft is "):
        assert words in caption


@pytest.mark.parametrize("table", [markdown_table, markdown_differences, console_table, summary_table])
def test_failed_edits_are_counted_where_there_are_any(metrics, table):
    assert "ailed edit" not in table(metrics)
    assert table({name: value for name, value in metrics.items() if name != "failed"}) == table(metrics)
    counted = " ".join(table(metrics | {"failed": metrics["failed"] | {"iedit_m": 3, "inpainting": 1}}).split())
    assert "Failed edits, of 20: Inpainting (true masks) 1, iEdit-M 3. A failed edit has an empty mask" in counted


def test_csv_is_at_full_precision(metrics):
    rows = list(csv.DictReader(io.StringIO(csv_table(metrics))))
    assert len(rows) == 5 * len(METRICS)
    assert float(rows[0]["value"]) == metrics["systems"]["sdedit"]["clip_score"]


def test_console_has_a_line_for_each_metric(metrics):
    lines = [line.replace("\u0304", "") for line in console_table(metrics).splitlines()]  # the bar over M takes no room
    assert len(lines) == len(METRICS) + 2
    starts = [re.search(r" {2,}\S", line).end() for line in lines[1:-1]]
    assert len(set(starts)) == 1


def test_tables_are_written_and_printed(tmp_path, metrics, capsys):
    write_tables(tmp_path, metrics)
    assert (tmp_path / "table.md").is_file()
    assert (tmp_path / "table.csv").is_file()
    assert "iEdit-M" in capsys.readouterr().out


def test_a_system_without_a_name_is_an_error(metrics):
    with pytest.raises(InputError, match="scored systems"):
        markdown_table(metrics, {"sdedit": "SDEdit"})


def test_case_scores_are_written(tmp_path):
    failed = replace(SCORES["iedit_m"], failed=np.arange(20) == 4)
    write_case_scores(tmp_path / "cases.csv", [f"{i:06d}" for i in range(20)], SCORES | {"iedit_m": failed})
    rows = list(csv.DictReader((tmp_path / "cases.csv").open()))
    assert len(rows) == 100
    assert rows[0]["clip_directional"] == ""
    assert [(row["system"], row["case"]) for row in rows if row["failed"] != "0"] == [("iedit_m", "000004")]
    assert float(rows[3]["clip_score"]) == pytest.approx(SCORES["sdedit"].per_case["clip_score"][3], rel=1e-5)


def test_dvc_gets_a_small_file_for_each_system(tmp_path, metrics):
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "former.json").touch()
    write_scores(tmp_path / "scores", metrics)
    files = {path.stem: read_json(path) for path in (tmp_path / "scores").iterdir()}
    assert files.keys() == metrics["systems"].keys()
    for system, scores in files.items():
        assert sorted(scores) == sorted(HEADLINES)
        assert scores["clip_score"] == round(metrics["systems"][system]["clip_score"], 2)


def test_an_undefined_score_is_left_out_of_dvcs_files(tmp_path, metrics):
    metrics = copy.deepcopy(metrics)
    metrics["systems"]["iedit"]["clip_score"] = None
    write_scores(tmp_path / "scores", metrics)
    assert "clip_score" not in read_json(tmp_path / "scores" / "iedit.json")


def test_summary_has_the_values_of_the_console_table(metrics):
    short, long = summary_table(metrics).splitlines(), console_table(metrics).splitlines()
    assert len(short) == len(long) + 1  # the second line of heads
    for line, whole in zip(short[2:-1], long[1:-1], strict=True):
        values = re.findall(r"(?<= )(?:-?[\d.]+|undefined)(?=\*|\s|$)", line)
        assert values
        assert all(value in whole for value in values)
