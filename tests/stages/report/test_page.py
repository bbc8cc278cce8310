"""The page: it loads and runs nothing, escapes every text, and is the same in every run."""

import base64
import io
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from PIL import Image

from stages.core.errors import InputError
from stages.corpus.samples import read_edits, write_edits
from stages.report.captions import NAMES, Wording, wording_of
from stages.report.claims import ClaimTable
from stages.report.contact_sheet import contact_sheet
from stages.report.page import write_report
from stages.report.pictures import THUMBNAIL
from tests.support.html import Page
from tests.support.results import case
from tests.support.samples import noise

HOSTILE = "\"><img src=https://evil.example/x.png onerror='alert(1)'><script>alert(2)</script> {{ 7 * 7 }}"


def write(path, metrics, **changes):
    cases = [case(seed, HOSTILE if seed == 1 else "a blue car on the beach") for seed in range(3)]
    rng = np.random.default_rng(0)
    losses = [{"step": step, "mask": 1 / step + 0.01 * rng.random(), "perc": 0.1, "total": np.nan} for step in range(1, 500)]
    content = {
        "title": "iEdit on the embedded world",
        "metrics": metrics,
        "cases": cases,
        "edits": {system: [noise(seed + 10, 64) for seed in range(3)] for system in NAMES},
        "losses": losses,
        "panels": {"Weighted losses": ["mask", "perc", "total"], "Raw losses": ["mask"]},
        "dropped": {"ingest": {"duplicate": 1200, HOSTILE: 3}, "segment": {}},
        "pairs": cases[:2],
        "credits_line": "Artwork: OpenMoji, CC BY-SA 4.0",
    }
    write_report(path, **content | changes)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(tmp_path_factory, metrics):
    """The page with everything on it, as HTML."""
    return write(tmp_path_factory.mktemp("page") / "report.html", metrics)


def test_page_loads_nothing_and_runs_nothing(text):
    page = Page(text)
    assert page.loads
    assert all(load.startswith(("data:image/png;base64,", "#")) for load in page.loads)
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    assert "url(http" not in text
    assert "default-src 'none'" in text


def test_large_pictures_are_reduced(tmp_path, metrics):
    large, small = case(0, size=2 * THUMBNAIL), case(1, size=48)
    edits = {system: [large.source, small.source] for system in NAMES}
    page = Page(write(tmp_path / "report.html", metrics, cases=[large, small], edits=edits, pairs=[], panels=None))
    data = [base64.b64decode(load.partition(",")[2]) for load in page.loads if load.startswith("data:image/png")]
    assert {Image.open(io.BytesIO(each)).size for each in data} == {(THUMBNAIL, THUMBNAIL), (48, 48)}


def test_hostile_prompts_are_escaped(text):
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "{{ 7 * 7 }}" in text
    assert Page(text).tags.count("img") == 3 * 7 + 2 * 4


def test_hostile_text_is_escaped_everywhere(tmp_path, metrics):
    escapes = "\x1b[2J\x1b]0;title\x07\u202e\x9b\x00"
    hostile = replace(case(0, HOSTILE + escapes), source_caption=HOSTILE + escapes)
    write_edits(tmp_path / "cases.tar", [hostile])  # an evaluation reads its cases from a shard
    cases = list(read_edits(tmp_path / "cases.tar"))
    names = {system: name + HOSTILE for system, name in NAMES.items()}
    text = write(
        tmp_path / "report.html",
        metrics | {"models": {HOSTILE: HOSTILE, "judge": {HOSTILE: HOSTILE}}},
        title=HOSTILE,
        cases=cases,
        pairs=cases,
        edits={system: [noise(1, 64)] for system in NAMES},
        wording=Wording(names=names, mask=HOSTILE, note=HOSTILE),
        panels={HOSTILE: ["mask"]},
        dropped={HOSTILE: {HOSTILE: 1}},
        credits_line=HOSTILE,
    )
    page = Page(text)  # no attribute runs anything
    assert page.tags.count("img") == 7 + 4
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    assert all(load.startswith(("data:image/png;base64,", "#")) for load in page.loads)
    assert text.count("{{ 7 * 7 }}") >= 12  # not evaluated to 49
    assert "<script" not in text
    assert not {char for char in escapes if not char.isprintable()} & set(text)
    assert contact_sheet(cases, {system: [noise(1, 64)] for system in NAMES}).size


def test_page_is_the_same_twice(tmp_path, metrics, text):
    assert write(tmp_path / "again.html", metrics) == text


def test_page_names_models_licence_and_counts(text):
    assert "n = 18 of 20" in text
    for words in ("0123abcd", "OpenMoji", "1,200", "nothing dropped", "iEdit-M − InstructPix2Pix", "not chosen"):
        assert words in text


def test_page_counts_failed_edits_where_there_are_any(tmp_path, metrics, text):
    assert "ailed edit" not in text
    counted = write(tmp_path / "failed.html", metrics | {"failed": {"iedit_m": 3}})
    assert "Failed edits, of 20: iEdit-M 3. A failed edit has an empty mask" in counted


def test_page_defines_its_terms(text):
    for term in ("The judge is ", "Edit success is ", "A draft is "):
        assert term in text


def test_page_has_every_table_of_claims(tmp_path, metrics):
    claims = [
        ClaimTable(title=f"Table {HOSTILE}", heading=("Claim", "n", "Holds"), rows=[(HOSTILE, "20", "yes")], note="a note"),
        ClaimTable(title="Other", heading=("Claim", "Paper", "n", "Holds"), rows=[("b", "+1.0", "20", "no")] * 2, note="more"),
    ]
    text = write(tmp_path / "report.html", metrics, claims=claims)
    assert text.count("<h3>") == 2
    assert text.count('<td class="number">20</td>') == 3
    assert text.count("<td>no</td>") == 2
    for words in ("a note", "more", "above the loss that is allowed", '<td class="number">+1.0</td>'):
        assert words in text
    assert "<script" not in text


def test_page_without_its_optional_parts(tmp_path, metrics):
    nothing = {"losses": [], "panels": None, "dropped": None, "pairs": [], "credits_line": ""}
    text = write(tmp_path / "report.html", metrics | {"differences": {}}, **nothing)
    for words in ("<svg ", "Dataset", "<footer", "Differences"):
        assert words not in text


def test_page_of_few_cases_without_true_masks(tmp_path, metrics):
    metrics = metrics | {"cases": 19, "masks": "referee", "left_out": 3}
    claims = [ClaimTable(title="t", heading=("Claim", "n", "Holds"), rows=[("a", "19", "not judged")], note="")]
    text = unescape(write(tmp_path / "report.html", metrics, wording=wording_of(metrics), claims=claims))
    assert "true mask" not in text.lower()
    assert text.count("Referee's mask") == 1
    assert "Inpainting (referee's masks)" in text
    assert "Left out: 3 of 22, in which the referee finds nothing, or the whole picture." in text
    assert "n = 19, fewer than 20 cases" in text
    assert 'class="best"' not in text
    assert "95 %" not in text


def test_every_system_needs_an_edit_of_every_case(tmp_path, metrics):
    edits = {system: [noise(0, 64)] * 3 for system in list(NAMES)[:-1]} | {"iedit_m": []}
    with pytest.raises(InputError, match="3 cases to show"):
        write(tmp_path / "report.html", metrics, edits=edits)
    assert not (tmp_path / "report.html").exists()
