"""Rows and cells of the results."""

from dataclasses import replace

import numpy as np

from stages.metrics.summary import summarise
from stages.metrics.table import METRICS
from stages.report.captions import wording_of
from stages.report.formats import (
    console_table,
    csv_table,
    markdown_differences,
    markdown_table,
    summary_table,
    write_scores,
)
from stages.report.results import difference_rows, measured, result_rows
from tests.support.results import SCORES


def test_rows_mark_the_best_and_count_the_undefined(metrics):
    rows = result_rows(metrics)
    assert [row.name for row in rows] == ["SDEdit", "Inpainting (true masks)", "InstructPix2Pix", "iEdit", "iEdit-M"]
    cells = {metric.key: [row.cells[i] for row in rows] for i, metric in enumerate(METRICS)}
    assert [cell.best for cell in cells["clip_score"]] == [False, False, False, False, True]
    assert [cell.best for cell in cells["frechet_judge_features"]] == [False, False, False, False, True]
    assert not any(cell.best for cell in cells["ssim_m_frame"])
    assert cells["clip_directional"][0].undefined == 2
    assert cells["frechet_judge_features"][0].interval == "[8.00, 10.00]"


def test_values_that_look_alike_are_marked_alike(metrics):
    values = {"sdedit": 1, "inpainting": 0, "instruct_pix2pix": 0, "iedit": 2, "iedit_m": 2.0001}
    systems = {name: metrics["systems"][name] | {"clip_score": value} for name, value in values.items()}
    assert [row.cells[0].best for row in result_rows(metrics | {"systems": systems})] == [False, False, False, True, True]


def test_few_cases_have_no_best_and_no_interval(metrics):
    few = metrics | {"cases": 19}
    cells = [cell for row in (*result_rows(few), *difference_rows(few)) for cell in row.cells]
    assert not any(cell.best or cell.interval for cell in cells)
    assert {row.cells[0].value for row in result_rows(few)} == {row.cells[0].value for row in result_rows(metrics)}
    assert "**" not in markdown_table(few) + markdown_differences(few)
    assert "*" not in console_table(few) + summary_table(few)
    for table in (markdown_table, markdown_differences, console_table, summary_table):
        assert "n = 19, fewer than 20 cases: no interval is shown" in table(few)


def test_values_of_few_cases_have_no_best_and_no_interval():
    values = {
        "sdedit": SCORES["sdedit"].per_case["clip_score"],
        "iedit": np.where(np.arange(20) < 3, 99.0, np.nan),
        "iedit_m": SCORES["iedit_m"].per_case["clip_score"],
    }
    scores = {
        name: replace(SCORES[name], per_case=SCORES[name].per_case | {"clip_score": each}) for name, each in values.items()
    }
    found = summarise(scores, resamples=5, seed=0, models={})
    names = {"sdedit": "SDEdit", "iedit": "iEdit", "iedit_m": "iEdit-M"}
    sdedit, iedit, iedit_m = (row.cells[0] for row in result_rows(found, names))
    assert iedit.text == "99.00 (17 undefined)"
    assert (sdedit.best, iedit.best, iedit_m.best) == (False, False, True)
    assert sdedit.interval
    assert iedit_m.interval
    differences = {row.name: row.cells[0] for row in difference_rows(found, names)}
    assert differences["iEdit-M − SDEdit"].best
    assert not any(differences[name].best or differences[name].interval for name in ("iEdit − SDEdit", "iEdit-M − iEdit"))


def test_a_metric_without_any_value_is_undefined():
    per_case = SCORES["sdedit"].per_case | {"edit_success": np.full(20, np.nan)}
    only = summarise({"sdedit": replace(SCORES["sdedit"], per_case=per_case)}, resamples=5, seed=0, models={})
    assert "undefined (20 undefined)" in markdown_table(only, {"sdedit": "SDEdit"})


def test_pairs_keep_the_order_of_systems(metrics):
    names = [row.name for row in difference_rows(metrics)]
    shuffled = {later: dict(sorted(others.items())) for later, others in sorted(metrics["differences"].items())}
    assert names == [row.name for row in difference_rows(metrics | {"differences": shuffled})]
    assert names[:2] == ["Inpainting (true masks) − SDEdit", "InstructPix2Pix − SDEdit"]


def test_masks_are_called_true_only_where_they_are(metrics):
    texts = {}
    for masks, extra in (("true", {}), ("referee", {"masks": "referee", "left_out": 3})):
        wording = wording_of(metrics | extra)
        tables = (markdown_table, markdown_differences)
        texts[masks] = "".join(table(metrics, wording.names, wording.note) for table in tables) + wording.mask
    assert "true masks" in texts["true"]
    assert "referee" not in texts["true"]
    assert "Inpainting (referee's masks)" in texts["referee"]
    assert "(true" not in texts["referee"]
    assert texts["referee"].endswith("referee's mask")
    assert texts["referee"].count("Left out: 3 of 23, in which the referee finds nothing, or the whole picture.") == 2
    assert "Left out" not in wording_of(metrics | {"masks": "referee", "left_out": 0}).note


def test_a_released_competitor_is_said_to_be_one():
    trained, released = (
        wording_of({"models": {"instruct_pix2pix": {"name": name}}}) for name in ("models/instruct_pix2pix", "owner/released")
    )
    assert trained.note == ""
    assert released.note.startswith(
        "InstructPix2Pix is owner/released, which was trained on other data and gets instructions instead of descriptions."
    )


def test_tables_without_inception_have_all_but_fid(metrics, tmp_path):
    def without(scores):
        return {name: score for name, score in scores.items() if name != "fid"}

    fewer = metrics | {
        name: {system: without(scores) for system, scores in metrics[name].items()} for name in ("systems", "intervals")
    }
    assert [metric.key for metric in METRICS if metric not in measured(fewer)] == ["fid"]
    for table in (markdown_table, markdown_differences, console_table, summary_table, csv_table):
        assert ("fid" in table(metrics).lower(), "fid" in table(fewer).lower()) == (True, False)
    lines = markdown_table(fewer).splitlines()
    assert {line.count("|") for line in lines[:7]} == {len(METRICS) + 1}
    column = [heading.startswith("SSIM-M̄ (frame") for heading in lines[0].split(" | ")].index(True)
    assert lines[2].split(" | ")[column].startswith(f"{metrics['systems']['sdedit']['ssim_m_bar_frame']:.2f} ")
    write_scores(tmp_path / "scores", fewer)
    assert '"fid"' not in (tmp_path / "scores" / "iedit.json").read_text()
