"""Stage describe: figures that agree with the tables, samples of what was kept and dropped, and what changed."""

import shutil
from collections import Counter
from contextlib import chdir
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from stages.common.parquet import read_table, write_table
from stages.core.files import read_json, write_json
from stages.core.params import Params
from stages.core.params_ingest import WebDatasetSource
from stages.core.paths import (
    CAPTIONS,
    CORPUS,
    DATASET,
    DATASET_BEFORE,
    DATASET_PAGE,
    EDITS,
    HELD_OUT,
    MASKS,
    PAIRS,
    TRAINING_SET,
)
from stages.corpus.lists import write_refused, write_repeats
from stages.describe import describe
from stages.pairing.columns import EDITS_TABLE
from stages.report import night
from stages.report.dataset import Figures, measure_dataset
from stages.report.examples import SHOWN
from stages.retrieve import retrieve
from stages.segment import segment
from tests.support import ROOT
from tests.support.html import Page
from tests.support.tiny_corpus import edit_row, key_for, number_of, rows_of, samples_of, write_shards, write_training_pairs

HOSTILE = "<script>alert(1)</script>\x1b[2J"


@pytest.fixture(scope="module")
def made(models, tmp_path_factory) -> SimpleNamespace:
    """A project up to its training set, with a picture without caption, some without edit, and a refused file; its params."""
    folder = tmp_path_factory.mktemp("made")
    with chdir(folder):
        return SimpleNamespace(folder=folder, params=make_project(models))


def make_project(models: SimpleNamespace) -> Params:
    """Make that project in the current folder."""
    params = write_training_pairs(models, 2, mutate={"vocabulary": str(ROOT / "nano" / "vocabulary.txt")})
    Path("data/nltk").symlink_to(ROOT / "data" / "nltk")

    def write(path, numbers):
        captions = {numbers[1]: "", numbers[3]: "of the and", numbers[5]: "a woman"}
        rows = [(number, captions.get(number, edit_row(number)["caption"])) for number in numbers]
        table = [{"key": key_for(number), "caption": caption} for number, caption in rows]
        write_table(path, table, {"key": "string", "caption": "string"})

    write_shards(CAPTIONS, ".parquet", 2, write)
    record = read_json(CORPUS / "00000.done.json")
    note = {"origin": f"{HOSTILE}.png", "reason": "shorter side below ingest.min_side = 32: 9 x 9 pixels"}
    write_json(
        CORPUS / "00000.done.json", record | {"notes": [note], "dropped": {"shorter side below ingest.min_side = 32": 1}}
    )
    for folder in (CORPUS, TRAINING_SET):
        counts = read_json(folder / "counts.json") | {"ingest": {"shorter side below ingest.min_side = 32": 1}}
        write_json(folder / "counts.json", counts)
    write_refused(CORPUS)
    write_repeats(CORPUS, ["00000", "00001"])
    return params


@pytest.fixture
def params(made, workplace) -> Params:
    """The params of the project, of which the current folder is a copy."""
    shutil.copytree(made.folder, workplace, dirs_exist_ok=True, symlinks=True)
    return made.params


def figures() -> Figures:
    return Figures.model_validate_json(DATASET.read_bytes())


def test_figures_agree_with_the_tables(params, monkeypatch):
    describe(params)
    found, pairs, rows = figures(), rows_of(PAIRS), rows_of(TRAINING_SET)
    assert found.kept["ingest"] == 12
    assert (found.kept["retrieve"], found.kept["segment"]) == (len(pairs), len(rows))
    assert found.kept["segment held out"] == len(rows_of(HELD_OUT))
    assert found.relations == Counter(row["relation"] for row in rows)
    assert {(each.source, each.target): each.pairs for each in found.changes} == Counter(
        (row["source_term"], row["target_term"]) for row in rows
    )
    uses = Counter(Counter(row["target_key"] for row in pairs).values())
    assert found.uses == uses
    scores = np.array([row["directional"] for row in pairs])
    histogram = found.scores["directional"]
    assert histogram.counts == np.histogram(scores, 40, (scores.min(), scores.max()))[0].tolist()
    assert found.medians["scores/directional"] == pytest.approx(np.median(scores), abs=1e-4)
    monkeypatch.setattr(night, "HELD", 3)  # of a large corpus scores are sampled, but pairs are counted
    sampled = measure_dataset()
    assert (sampled.relations, sampled.changes) == (found.relations, found.changes)
    assert sum(sampled.scores["directional"].counts) < len(scores)


def test_the_page_shows_pairs_and_what_was_dropped(params):
    describe(params)
    text = DATASET_PAGE.read_text()
    page = Page(text)
    assert all(load.startswith(("data:image/png;base64,", "#")) for load in page.loads)
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    assert "&lt;script&gt;" in text
    assert "\x1b" not in text
    shown = [
        "co-hyponym",
        "caption: empty caption",
        "no noun or adjective to change",
        "a woman",
        "9 x 9 pixels",
    ]
    assert [words for words in shown if words not in text] == []
    assert "first version" in text
    assert text.count("<svg") == 5 + 2 + 1  # scores, masks, uses
    assert "OpenMoji" in text  # params.yaml's source


def test_pictures_are_named_as_in_the_source(params):
    describe(params)
    text = DATASET_PAGE.read_text()
    rows = rows_of(TRAINING_SET)
    named = [f"test/{number_of(row['key'])} → test/{number_of(row['target_key'])}<" for row in rows]
    assert sum(each in text for each in named) == SHOWN < len(rows)
    assert not any(row["key"] in text for row in rows)
    assert "IMG 1" in text  # the own text of a picture that has no caption


def changed(params: Params, section: str, **changes: object) -> Params:
    return params.model_copy(update={section: getattr(params, section).model_copy(update=changes)})


def test_held_out_pairs_are_counted_apart(params):
    """And without a pair to train on there is a page all the same."""
    areas = sorted(row["source_mask_area"] for row in rows_of(TRAINING_SET))
    few = changed(changed(params, "retrieve", held_out=1.0), "segment", max_area=areas[0])
    retrieve(few)
    segment(few)
    write_json(TRAINING_SET / "counts.json", read_json(TRAINING_SET / "counts.json") | {"ingest": {}})
    describe(few)
    kept, dropped = figures().kept, figures().dropped["segment held out"]
    assert (kept["segment"], kept["segment held out"]) == (0, len(rows_of(HELD_OUT)))
    assert sum(dropped.values()) == len(areas) - kept["segment held out"] > 0
    text = DATASET_PAGE.read_text()
    assert "There is no training pair." in text
    assert "<td>segment held out</td>" in text
    for reason, count in dropped.items():
        assert f'<td>dropped: {reason}</td><td class="number">{count}</td>' in text


@pytest.mark.parametrize("path", ["downloads/*/*.tar", "elsewhere/*.tar"])
def test_what_became_of_urls_is_shown_where_they_were_downloaded(params, path):
    for name, failed in (("a", {"HTTP Error 404": 2, "<script>": 1}), ("b", {"HTTP Error 404": 3})):
        Path("downloads", name).mkdir(parents=True)
        whole = {"urls": 10, "pictures": 10 - sum(failed.values()), "failed": failed, "left_out": {"no URL": 7}}
        write_json(Path("downloads", name, "statistics.json"), whole)
    describe(changed(params, "ingest", source=WebDatasetSource(kind="webdataset", path=path)))
    text = DATASET_PAGE.read_text()
    shown = [
        "14 of 20 URLs gave a picture (success rate 70.0%)",
        '<td>HTTP Error 404</td><td class="number">5</td>',
        '<td>not asked for: no URL</td><td class="number">14</td>',
        "<td>&lt;script&gt;</td>",
    ]
    assert [words in text for words in shown] == [path.startswith("downloads")] * len(shown)


def test_texts_of_words_that_clip_does_not_know_are_reported(params, capsys):
    small = params.retrieve.clip.model_copy(update={"name": str(ROOT / "nano/models/clip")})
    params = params.model_copy(update={"retrieve": params.retrieve.model_copy(update={"clip": small})})
    for table in sorted(EDITS.glob("*.parquet")):
        rows = [row | {"caption": "a dog", "edit_prompt": "a cat"} for row in read_table(table, EDITS_TABLE)]
        write_table(table, rows, EDITS_TABLE)
    describe(params)
    assert "vocabulary" not in capsys.readouterr().out + DATASET_PAGE.read_text()
    write_table(table, [row | {"caption": "a woman on a surfboard"} for row in rows], EDITS_TABLE)
    describe(params)
    line = f"{len(rows)} of 12 sampled captions and prompts have half or more of their words outside of the vocabulary of"
    assert line in capsys.readouterr().out
    assert line in DATASET_PAGE.read_text()


def test_pictures_of_unusable_masks_are_shown(params):
    areas = sorted(row["source_mask_area"] for row in rows_of(MASKS))
    assert areas[0] < areas[-1]
    split = next((low + high) / 2 for low, high in pairwise(areas) if low < high)
    few = params.model_copy(update={"segment": params.segment.model_copy(update={"max_area": split})})
    segment(few)
    write_json(TRAINING_SET / "counts.json", read_json(TRAINING_SET / "counts.json") | {"ingest": {}})
    describe(few)
    assert "segment: source mask full or above segment.max_area" in DATASET_PAGE.read_text()


@pytest.mark.parametrize("earlier", [DATASET, DATASET_BEFORE], ids=str)
def test_earlier_figures_that_cannot_be_read_stop_nothing(params, capsys, earlier):
    """As those of a release with other figures."""
    describe(params)
    first = DATASET.read_bytes(), DATASET_PAGE.read_bytes()
    earlier.write_text(DATASET.read_text().replace("medians", "removed"))
    describe(params)
    assert f"{earlier}: damaged, or of another release" in capsys.readouterr().out
    assert (DATASET.read_bytes(), DATASET_PAGE.read_bytes()) == first


def test_a_new_version_says_what_changed_every_time(params):
    describe(params)
    first = DATASET.read_bytes(), DATASET_PAGE.read_bytes()
    describe(params)
    assert (DATASET.read_bytes(), DATASET_PAGE.read_bytes()) == first
    assert not DATASET_BEFORE.exists()
    pairs = len(samples_of(TRAINING_SET))
    table = min(TRAINING_SET.glob("*.parquet"))
    record = read_json(table.with_name(f"{table.stem}.done.json"))
    write_json(table.with_name(f"{table.stem}.done.json"), record | {"done": record["done"] + 1000})
    for _ in range(2):
        describe(params)
        assert f'<td>segment: kept</td><td class="number">{pairs}</td>' in DATASET_PAGE.read_text()
        assert "+1,000" in DATASET_PAGE.read_text()
    assert DATASET_BEFORE.read_bytes() == first[0]
