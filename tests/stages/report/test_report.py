import base64
import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from stages.core.errors import InputError
from stages.corpus.samples import EditSample, read_edits, write_edits
from stages.metrics.intervals import Interval
from stages.metrics.scores import SystemScores
from stages.metrics.summary import summarise
from stages.metrics.table import METRICS
from stages.report.captions import NAMES
from stages.report.claims import claim_rows, judge_claims, markdown_claims
from stages.report.contact_sheet import contact_sheet
from stages.report.formats import console_table, csv_table, markdown_table, write_case_scores, write_tables
from stages.report.page import write_report
from stages.report.pictures import THUMBNAIL, overlay
from stages.report.plots import plot_losses
from stages.report.results import result_rows

HOSTILE = "\"><img src=https://evil.example/x.png onerror='alert(1)'><script>alert(2)</script> {{ 7 * 7 }}"
OF_SET = ("frechet_judge_features", "kid_judge_features")


def picture(seed, size=64):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8))


def case(seed, prompt="a blue car on the beach", size=64):
    mask = Image.new("L", (size, size))
    mask.paste(255, (size // 4, size // 4, size // 2, size // 2))
    return EditSample(
        key=f"{seed:06d}",
        source=picture(seed, size),
        target=picture(seed + 1, size),
        source_mask=mask,
        target_mask=mask,
        source_caption="a red car on the beach",
        edit_prompt=prompt,
        source_diff="red car",
        target_diff="blue car",
        target_alt_text="",
        metadata={},
    )


def system_scores(seed, n=20, shift=0.0):
    rng = np.random.default_rng(seed)
    per_case = {metric.key: 50 + shift + rng.normal(0, 5, n) for metric in METRICS if metric.key not in OF_SET}
    per_case["clip_directional"][:2] = np.nan
    of_set = {name: Interval(value=9 - shift, low=8 - shift, high=10 - shift, n=n) for name in OF_SET}
    return SystemScores(per_case=per_case, of_set=of_set)


SCORES = {
    "sdedit": system_scores(0),
    "inpainting": system_scores(3),
    "instruct_pix2pix": system_scores(4),
    "iedit": system_scores(1, shift=1),
    "iedit_m": system_scores(2, shift=8),
}
MODELS = {
    "judge": {"name": "nano/models/judge", "identity": "0123abcd"},
    "vgg": {"name": "nano/models/vgg", "identity": "4567"},
}


@pytest.fixture(scope="module")
def metrics():
    return summarise(SCORES, resamples=50, seed=0, models=MODELS)


def write(path, metrics, **changes):
    cases = [case(seed, HOSTILE if seed == 1 else "a blue car on the beach") for seed in range(3)]
    rng = np.random.default_rng(0)
    losses = [{"step": step, "mask": 1 / step + 0.01 * rng.random(), "perc": 0.1, "total": np.nan} for step in range(1, 500)]
    content = {
        "title": "iEdit on the embedded world",
        "metrics": metrics,
        "cases": cases,
        "edits": {system: [picture(seed + 10) for seed in range(3)] for system in NAMES},
        "losses": losses,
        "panels": {"Weighted losses": ["mask", "perc", "total"], "Raw losses": ["mask"]},
        "dropped": {"ingest": {"duplicate": 1200, HOSTILE: 3}, "segment": {}},
        "pairs": cases[:2],
        "credits_line": "Artwork: OpenMoji, CC BY-SA 4.0",
    }
    write_report(path, **content | changes)
    return path.read_text(encoding="utf-8")


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.loads = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loads += [value for name, value in attributes if name in ("src", "href", "xlink:href", "srcset", "action")]
        assert not [name for name, _ in attributes if name.startswith("on")]


# Page


def test_page_loads_nothing_and_runs_nothing(tmp_path, metrics):
    text = write(tmp_path / "report.html", metrics)
    page = Page(text)
    assert page.loads
    assert all(load.startswith(("data:image/png;base64,", "#")) for load in page.loads)
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    assert "url(http" not in text
    assert "default-src 'none'" in text


def test_large_pictures_are_reduced_on_the_page(tmp_path, metrics):
    large, small = case(0, size=2 * THUMBNAIL), case(1, size=48)
    edits = {system: [large.source, small.source] for system in NAMES}
    page = Page(write(tmp_path / "report.html", metrics, cases=[large, small], edits=edits, pairs=[]))
    data = [base64.b64decode(load.partition(",")[2]) for load in page.loads if load.startswith("data:image/png")]
    assert {Image.open(io.BytesIO(each)).size for each in data} == {(THUMBNAIL, THUMBNAIL), (48, 48)}


def test_hostile_words_stay_words(tmp_path, metrics):
    text = write(tmp_path / "report.html", metrics)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "{{ 7 * 7 }}" in text
    assert Page(text).tags.count("img") == 3 * 7 + 2 * 4


def test_hostile_words_stay_words_wherever_they_stand(tmp_path, metrics):
    escapes = "\x1b[2J\x1b]0;title\x07\u202e\x9b\x00"
    hostile = replace(case(0, HOSTILE + escapes), source_caption=HOSTILE + escapes)
    write_edits(tmp_path / "cases.tar", [hostile])  # as an evaluation gets them
    cases = list(read_edits(tmp_path / "cases.tar"))
    names = {system: name + HOSTILE for system, name in NAMES.items()}
    text = write(
        tmp_path / "report.html",
        metrics | {"models": {HOSTILE: HOSTILE, "judge": {HOSTILE: HOSTILE}}},
        title=HOSTILE,
        cases=cases,
        pairs=cases,
        edits={system: [picture(1)] for system in NAMES},
        names=names,
        panels={HOSTILE: ["mask"]},
        dropped={HOSTILE: {HOSTILE: 1}},
        credits_line=HOSTILE,
    )
    page = Page(text)  # no attribute runs anything
    assert page.tags.count("img") == 7 + 4
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    assert all(load.startswith(("data:image/png;base64,", "#")) for load in page.loads)
    assert text.count("{{ 7 * 7 }}") >= 12  # not made into 49
    assert "<script" not in text
    assert not {char for char in escapes if not char.isprintable()} & set(text)
    assert contact_sheet(cases, {system: [picture(1)] for system in NAMES}).size


def test_page_is_the_same_twice(tmp_path, metrics):
    write(tmp_path / "a.html", metrics)
    write(tmp_path / "b.html", metrics)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_page_says_what_stands_behind_the_numbers(tmp_path, metrics):
    text = write(tmp_path / "report.html", metrics)
    assert "n = 18 of 20" in text
    for words in ("0123abcd", "OpenMoji", "1,200", "nothing dropped", "iEdit-M − InstructPix2Pix", "not chosen"):
        assert words in text


def test_page_without_its_optional_parts(tmp_path, metrics):
    without = replace_differences(metrics)
    nothing = {"losses": [], "panels": None, "dropped": None, "pairs": [], "credits_line": ""}
    text = write(tmp_path / "report.html", without, **nothing)
    for words in ("<svg ", "Dataset", "<footer", "Differences"):
        assert words not in text


def replace_differences(metrics):
    return metrics | {"differences": {}}


def test_a_result_for_every_case(tmp_path, metrics):
    with pytest.raises(InputError, match="3 cases to show"):
        write(
            tmp_path / "report.html", metrics, edits={system: [picture(0)] * 3 for system in list(NAMES)[:-1]} | {"iedit_m": []}
        )
    assert not (tmp_path / "report.html").exists()


def test_plot_has_distinct_ids_and_refuses_an_unknown_column():
    rows = [{"step": step, "a": step % 5 - 1.0} for step in range(1, 40)]
    ids = [set(re.findall(r'id="(p[0-9a-f]+|m[0-9a-f]+)"', plot_losses(rows, title, ["a"]))) for title in ("one", "two")]
    assert ids[0]
    assert not ids[0] & ids[1]
    with pytest.raises(InputError, match="no column 'b'"):
        plot_losses(rows, "one", ["b"])


def test_overlay_marks_only_the_mask():
    one = case(0)
    before, after, inside = (
        np.asarray(one.source),
        np.asarray(overlay(one.source, one.source_mask)),
        np.asarray(one.source_mask) > 0,
    )
    assert (before[~inside] == after[~inside]).all()
    assert (before[inside] != after[inside]).any(axis=1).all()


def test_contact_sheet_shows_every_case_and_system():
    cases = [case(0), case(1, HOSTILE + "long " * 100), case(2, size=80)]
    sheet = contact_sheet(cases, {system: [one.source for one in cases] for system in NAMES})
    assert sheet.width > 7 * THUMBNAIL
    assert sheet.height > 3 * THUMBNAIL
    top = 22 + 2 * 12 + 22
    corner = sheet.crop((12, top, 12 + THUMBNAIL, top + THUMBNAIL))
    assert (np.asarray(corner)[1::3, 1::3] == np.asarray(cases[0].source)).all()


# Tables


def test_rows_mark_the_best_and_count_the_undefined(metrics):
    rows = result_rows(metrics)
    assert [row.name for row in rows] == ["SDEdit", "Inpainting (true masks)", "InstructPix2Pix", "iEdit", "iEdit-M"]
    cells = {metric.key: [row.cells[i] for row in rows] for i, metric in enumerate(METRICS)}
    assert [cell.best for cell in cells["clip_score"]] == [False, False, False, False, True]
    assert [cell.best for cell in cells["frechet_judge_features"]] == [False, False, False, False, True]
    assert not any(cell.best for cell in cells["ssim_m_frame"])
    assert cells["clip_directional"][0].undefined == 2
    assert cells["frechet_judge_features"][0].interval == "[8.00, 10.00]"


def test_what_is_shown_alike_is_alike(metrics):
    values = {"sdedit": 1, "inpainting": 0, "instruct_pix2pix": 0, "iedit": 2, "iedit_m": 2.0001}
    systems = {name: metrics["systems"][name] | {"clip_score": value} for name, value in values.items()}
    assert [row.cells[0].best for row in result_rows(metrics | {"systems": systems})] == [False, False, False, True, True]


def test_markdown_has_a_column_for_each_metric(metrics):
    lines = markdown_table(metrics).splitlines()
    assert {line.count("|") for line in lines[:7]} == {len(METRICS) + 2}
    assert "**" in lines[6]
    assert "(2 undefined)" in lines[2]
    assert "n = 20 cases" in lines[-1]


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


def test_undefined_everywhere_is_said():
    per_case = SCORES["sdedit"].per_case | {"edit_success": np.full(20, np.nan)}
    only = summarise({"sdedit": replace(SCORES["sdedit"], per_case=per_case)}, resamples=5, seed=0, models={})
    assert "undefined (20 undefined)" in markdown_table(only, {"sdedit": "SDEdit"})


def test_no_system_is_left_out_of_the_table(metrics):
    with pytest.raises(InputError, match="scored systems"):
        markdown_table(metrics, {"sdedit": "SDEdit"})


def test_case_scores_are_written(tmp_path):
    write_case_scores(tmp_path / "cases.csv", [f"{i:06d}" for i in range(20)], SCORES)
    rows = list(csv.DictReader((tmp_path / "cases.csv").open()))
    assert len(rows) == 100
    assert rows[0]["clip_directional"] == ""
    assert float(rows[3]["clip_score"]) == pytest.approx(SCORES["sdedit"].per_case["clip_score"][3], rel=1e-5)


# Claims


def test_claims_are_computed_and_hold_where_they_are_large_enough_and_sure():
    def scores(mean, distance, n=200):
        noise = np.random.default_rng(0).normal(0, 1, n)
        per_case = {metric.key: mean + noise for metric in METRICS if metric.key not in OF_SET}
        without = {name: distance * (1 + 0.001 * np.random.default_rng(1).normal(size=50)) for name in OF_SET}
        of_set = {name: Interval(value=distance, low=0, high=0, n=n) for name in OF_SET}
        return SystemScores(per_case=per_case, of_set=of_set, without=without)

    systems = {name: scores(60, 10) for name in (*NAMES, "sdedit_as_iedit", "sdedit_as_iedit_m")}
    systems["iedit_m"] = scores(80, 8)
    verdicts = judge_claims(systems, 100, 0)
    found = {(each.claim.second, each.claim.metric): each for each in verdicts}
    clip, gap, distance = (
        found["sdedit_as_iedit_m", name] for name in ("clip_score", "ssim_m_bar_frame", "frechet_judge_features")
    )
    assert clip.found.value == pytest.approx(100 * 20 / 60, rel=0.01)
    assert gap.found.value == pytest.approx(50, rel=0.01)  # 40 are lacking, then 20
    assert distance.found.value == pytest.approx(20)
    assert [clip.holds, gap.holds, distance.holds] == [True, True, True]
    assert not found["sdedit_as_iedit", "clip_score"].holds  # iEdit is no better
    assert found["inpainting", "ssim_m_bar_frame"].holds
    systems["iedit_m"] = scores(59.5, 9.9)
    again = {(each.claim.second, each.claim.metric): each.holds for each in judge_claims(systems, 100, 0)}
    assert again["inpainting", "ssim_m_bar_frame"]  # half a point less, of the one that is allowed
    assert sum(again.values()) == 1
    table = markdown_claims(claim_rows(verdicts, {name: name for name in systems}), 200)
    assert table.count("| yes |") == sum(verdict.holds for verdict in verdicts)
