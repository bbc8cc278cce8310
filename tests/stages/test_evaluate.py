"""Stage evaluate: what it writes, what a second run remakes, and what stops it before any work."""

import csv
import io
import os
import re
import shutil
import sqlite3
from contextlib import chdir, closing, redirect_stderr, redirect_stdout
from dataclasses import replace
from html import unescape
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from stages.common.parquet import write_table
from stages.comparison.standard import current_standard
from stages.core.errors import InputError
from stages.core.files import folder_digest, read_json, write_json
from stages.core.params import Params
from stages.core.paths import EDITED, EDITS, EVALUATION, IEDIT, LOGS, NEW_REPORTS, REPORTS, TRAINING_SET
from stages.corpus.samples import write_edits
from stages.evaluate import evaluate
from stages.instruct import instruct
from stages.models.hub import identity
from stages.models.inception import Inception
from stages.pairing.columns import EDITS_TABLE
from stages.report.captions import NAMES
from stages.report.story import PANELS
from stages.retrieve import retrieve
from stages.segment import segment
from stages.tracking import store
from stages.tracking.evaluations import load_scores
from stages.tracking.gate import LABELS
from stages.tracking.registry import current_champion
from stages.train import train
from tests.support.compared import copy_trained_models
from tests.support.stores import forget_places
from tests.support.tiny_corpus import (
    SHARD_SIZE,
    contents,
    counted,
    edit_row,
    masks_of,
    params_for,
    samples_of,
    write_shards,
    write_training_pairs,
    write_world,
)

HOSTILE = ' <script src="//evil.example">\x1b[2J\x9b31m\x00</script>\n../../../etc/passwd'
REPORTED = {
    *(f"scores/{system}.json" for system in NAMES),
    *("metrics.json", "table.md", "table.csv", "pairs.md", "pairs.csv", "claims.md", "cases.csv", "report.html"),
    *("sheet.png", "losses.svg", "samples/source.png", "samples/edit.json"),
}


@pytest.fixture(scope="module")
def evaluated(models, empty_store, tmp_path_factory) -> SimpleNamespace:
    """A project that was trained and evaluated once on hostile captions; read only."""
    folder = tmp_path_factory.mktemp("evaluated")
    shutil.copy(empty_store, folder)
    terminal = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(terminal), redirect_stderr(terminal):
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        write_world(2)
        for path, first in ((EDITS / "00000.parquet", 0), (EDITS / "00001.parquet", SHARD_SIZE)):
            rows = [edit_row(number) for number in range(first, first + SHARD_SIZE, 2)]
            words = ("caption", "edit_prompt", "source_diff", "target_diff")
            write_table(path, [row | {name: row[name] + HOSTILE for name in words} for row in rows], EDITS_TABLE)
        params = params_for(models)
        Path("params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
        for stage in (retrieve, segment, train, instruct, evaluate):
            stage(params)
        os.environ.pop("MLFLOW_TRACKING_URI", None)  # MLflow writes it, and the next test would use it
    return SimpleNamespace(folder=folder, params=params, terminal=terminal.getvalue())


@pytest.fixture
def inside(evaluated, monkeypatch) -> SimpleNamespace:
    """The evaluated project, which is the current folder; read only."""
    monkeypatch.chdir(evaluated.folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return evaluated


@pytest.fixture
def copied(evaluated, workplace) -> SimpleNamespace:
    """A copy of the evaluated project, which is the current folder."""
    shutil.copytree(evaluated.folder, workplace, dirs_exist_ok=True)
    forget_places()
    return evaluated


def read_metrics() -> dict:
    return read_json(REPORTS / "metrics.json")


def test_metrics_cover_every_system_on_every_case(inside):
    metrics = read_metrics()
    assert metrics["cases"] == 4
    assert set(metrics["systems"]) == {"sdedit", "inpainting", "instruct_pix2pix", "iedit", "iedit_m"}
    assert str(inside.folder) not in (REPORTS / "metrics.json").read_text()


def test_fid_is_reported_where_inception_is_named(copied, models, monkeypatch):
    before = read_metrics()
    assert "inception" not in before["models"]
    assert "fid" not in before["systems"]["iedit"]
    folder = Path("inception")
    folder.mkdir()
    save_file({"weight": torch.zeros(1)}, folder / "model.safetensors")
    monkeypatch.setattr("stages.evaluate.load_inception", lambda _: Inception(nn.Sequential(nn.AvgPool2d(99), nn.Flatten())))
    evaluate(params_for(models, evaluate={"inception": {"name": str(folder)}}))
    found = read_metrics()
    assert found["models"].pop("inception") == {"name": "inception", "identity": folder_digest(folder)}
    assert found["models"] == before["models"]
    assert all(scores.pop("fid") > 0 for scores in found["systems"].values())
    assert found["systems"] == before["systems"]
    assert "| FID ↓ |" in (REPORTS / "table.md").read_text()
    assert ": FID, " in (REPORTS / "claims.md").read_text()
    assert "fid" in read_json(REPORTS / "scores/iedit.json")


def test_the_quality_of_predicted_masks_is_reported(inside, models):
    cases = samples_of(TRAINING_SET)[:4]
    predicted = [masks_of(models, case.source, case.target_diff) >= models.threshold for case in cases]
    assert all(mask.any() for mask in predicted)
    given = [masks_of(models, case.source, case.source_diff, "referee") >= models.threshold for case in cases]
    overlap = [(one & other).sum() / (one | other).sum() for one, other in zip(given, predicted, strict=True)]
    found = read_metrics()["predicted_masks"]
    assert found["referee_area"] == pytest.approx(np.mean(given), abs=1e-6)
    assert found["area"] == pytest.approx(np.mean(predicted), abs=1e-3)
    assert found["miou"] == pytest.approx(np.mean(overlap), abs=5e-3)


def test_no_mask_of_ones_own_corpus_is_called_true(inside):
    metrics = read_metrics()
    assert (metrics["masks"], metrics["left_out"]) == ("referee", 0)
    assert metrics["models"]["referee"]["identity"] == identity(inside.params.evaluate.referee)
    reports = {path.name: path.read_text() for path in REPORTS.iterdir() if path.suffix in (".md", ".html", ".csv")}
    reports |= {path.name: path.read_text() for path in Path("mlruns").rglob("README.md")}
    named = ("table.md", "pairs.md", "claims.md", "report.html", "README.md")
    assert [name for name in named if "(referee's masks)" not in unescape(reports[name])] == []
    assert [name for name, text in reports.items() if re.search(r"true masks?\b(?! ones)", text, re.IGNORECASE)] == []


def test_scores_and_times_are_logged_to_the_training_run(inside):
    client, metrics = store.connect(), read_metrics()
    logged = client.get_run(client.get_model_version("iedit", "1").run_id).data.metrics
    for system, scores in metrics["systems"].items():
        for name, value in scores.items():
            assert logged.get(f"evaluate/{system}/{name}") == (None if value is None else pytest.approx(value))
    seconds = read_json(LOGS / "seconds_per_edit.json")
    assert all(seconds[system] > 0 for system in metrics["systems"])
    assert logged["evaluate/iedit_m/seconds_per_edit"] == seconds["iedit_m"]


def test_every_stage_measures_its_seconds(inside):
    for stage in ("retrieve", "segment", "train", "instruct", "evaluate"):
        assert read_json(LOGS / f"{stage}.json")["seconds"] > 0


def test_every_report_is_written_and_nothing_else(inside):
    assert {path.relative_to(REPORTS).as_posix() for path in REPORTS.rglob("*") if path.is_file()} == REPORTED
    assert read_json(REPORTS / "samples/edit.json")["prompt"] == samples_of(TRAINING_SET)[0].edit_prompt
    ours = {"data", "logs", "models", "reports", "mlruns", "mlflow.db", "params.yaml"}
    assert {path.name for path in inside.folder.iterdir()} <= ours


def test_hostile_captions_stay_words_wherever_they_are_shown(inside):
    shown = {"terminal": inside.terminal.encode()}
    files = [path for folder in ("reports", "logs", "mlruns", "models") for path in Path(folder).rglob("*") if path.is_file()]
    shown |= {str(path): path.read_bytes() for path in files if path.suffix not in (".png", ".webp", ".safetensors")}
    assert {".html", ".json", ".csv", ".md", ".yaml"} <= {path.suffix for path in files}
    with closing(sqlite3.connect("mlflow.db")) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [row for name in tables for row in database.execute(f'SELECT * FROM "{name}"')]
    shown["mlflow.db"] = "\n".join(str(value) for row in rows for value in row).encode()
    assert b"train.losses.noise" in shown["mlflow.db"]
    assert "iEdit-M" in inside.terminal
    assert [name for name, text in shown.items() if "mlruns" in name and b"evil.example" in text]  # the model's example
    marks = [b"\x1b", b"\\u001b", b"\x00", b"\\u0000", "\x9b".encode(), b"\\u009b"]
    assert [(name, mark) for name, text in shown.items() for mark in marks if mark in text] == []
    assert b"evil.example" in shown["reports/latest/report.html"]
    assert b"<script" not in shown["reports/latest/report.html"]


def test_a_second_run_edits_nothing_and_reports_the_same(copied, evaluated):
    kept = contents(EDITED)
    shutil.rmtree(REPORTS)
    shutil.copytree(EDITED / "sdedit", EDITED / "of a system that was compared once")
    evaluate(copied.params)
    before = evaluated.folder / REPORTS
    assert {name for name in REPORTED if (before / name).read_bytes() != (REPORTS / name).read_bytes()} == set()
    assert contents(EDITED) == kept
    assert counted("evaluate") == (0, 24, 0, 12)  # the five, and SDEdit at the strength of iEdit-M


def test_a_system_of_which_every_edit_fails_is_reported(copied, monkeypatch):
    def nothing(_, images, *__):
        return torch.zeros(len(images), 1, images[0].height, images[0].width)

    monkeypatch.setattr("stages.editing.batch_editor.BatchEditor.predict_masks", nothing)
    for folder in ("masks", "iedit_m"):
        shutil.rmtree(EDITED / folder)
    before = read_metrics()
    evaluate(copied.params)
    metrics = read_metrics()
    assert before["failed"] == dict.fromkeys(metrics["systems"], 0)
    assert metrics["failed"] == before["failed"] | {"iedit_m": 4}
    found, sdedit = (metrics["systems"][system] for system in ("iedit_m", "sdedit"))
    assert (found["edit_success"], found["ssim_m_bar_frame"], found["clip_image"]) == (0, None, None)
    assert found["clip_score"] is not None
    assert sdedit == before["systems"]["sdedit"]
    for name in ("table.md", "pairs.md", "claims.md", "report.html"):
        assert "Failed edits, of 4: iEdit-M 4." in (REPORTS / name).read_text()
    standard, champion = current_standard(copied.params), current_champion()
    scores = load_scores(store.connect(), champion.model_id, standard.evaluation_set, standard.cases)
    assert scores["failed"].tolist() == [1] * 4


@pytest.mark.parametrize(
    "failing",
    [
        *("stages.evaluate.edit_cases", "stages.report.evaluation.write_report"),
        *("stages.evaluate.model_card", "stages.evaluate.register_evaluated"),
    ],
)
def test_an_evaluation_that_fails_leaves_the_last_results(copied, monkeypatch, failing):
    def fail(*_, **__):
        raise KeyboardInterrupt

    before = contents(REPORTS)
    NEW_REPORTS.mkdir()
    (NEW_REPORTS / "left by a kill").touch()
    with monkeypatch.context() as patch:
        patch.setattr(failing, fail)
        with pytest.raises(KeyboardInterrupt):
            evaluate(copied.params)
    assert contents(REPORTS) == before
    evaluate(copied.params)
    assert {name: content for name, (content, _) in contents(REPORTS).items()} == {name: before[name][0] for name in before}
    assert not NEW_REPORTS.exists()


def test_another_model_remakes_only_its_own_edits(copied, models):
    """The base itself takes the model's place, and then challenges the champion, which has no scores on these cases."""
    first, kept = read_metrics(), contents(EDITED)
    champion = current_champion()
    assert champion.version == "1"
    evaluate(params_for(models, evaluate={"max_cases": 3}))  # the second of the two batches is removed
    assert counted("evaluate") == (0, 18, 0, 6)
    shutil.rmtree(IEDIT)
    shutil.copytree(models.diffusion.name, IEDIT)
    write_json(IEDIT / "iedit.json", {"sampling": copied.params.sampling.model_dump()})
    evaluate(copied.params)
    assert counted("evaluate") == (12, 12, 8, 4)
    others = ("masks/", "sdedit", "inpainting/", "instruct_pix2pix/")
    alike = {name: data for name, (data, _) in kept.items() if name.startswith(others)}
    assert {name: data for name, (data, _) in contents(EDITED).items() if name in alike} == alike
    again = read_metrics()["systems"]
    assert again["sdedit"] == again["iedit"] == first["systems"]["sdedit"]

    fewer, client = params_for(models, evaluate={"max_cases": 2}), store.connect()
    client.set_registered_model_alias("iedit", "champion", "1")  # whichever of the two was better
    evaluate(fewer)
    standard = current_standard(fewer)
    scores = load_scores(client, champion.model_id, standard.evaluation_set, standard.cases)
    with (copied.folder / REPORTS / "cases.csv").open(newline="") as file:
        own = [row for row in csv.DictReader(file) if row["system"] == "iedit_m"][:2]
    for name in LABELS:
        np.testing.assert_allclose(scores[name], [float(row[name]) for row in own], rtol=1e-3)


def test_a_missing_model_is_an_error_before_any_work(models, workplace):
    params = write_training_pairs(models, evaluate={"judge": {"name": "nowhere"}})
    with pytest.raises(InputError, match=r"^evaluate\.judge\.name = 'nowhere': neither a folder nor a hub id"):
        evaluate(params)
    assert not Path("models").exists()
    assert not Path("reports").exists()


class TestDamagedInput:
    """Damaged input is found by reading all of it first, not when it is needed after hours of work."""

    @pytest.fixture(scope="class")
    def trained(self, models, tmp_path_factory) -> SimpleNamespace:
        """A folder with a training set, and with trained models that are copies of the base; and its params."""
        folder = tmp_path_factory.mktemp("trained")
        with chdir(folder):
            params = write_training_pairs(models)
            Path("params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
            copy_trained_models(models)
            names = ["step", *chain(*PANELS.values())]
            Path("models/losses.csv").write_text(f"{','.join(names)}\n{','.join('1' for _ in names)}\n")
        return SimpleNamespace(folder=folder, params=params)

    @pytest.fixture
    def pairs(self, trained, workplace) -> Params:
        """The current folder is a copy of that one."""
        shutil.copytree(trained.folder, workplace, dirs_exist_ok=True)
        return trained.params

    @pytest.fixture(autouse=True)
    def work(self, monkeypatch) -> None:
        def started(*_, **__):
            pytest.fail("an edit was started")

        monkeypatch.setattr("stages.editing.batch_editor.BatchEditor.edit_batch", started)
        monkeypatch.setattr("diffusers.StableDiffusionInstructPix2PixPipeline.__call__", started)

    @pytest.mark.parametrize(
        ("role", "file"),
        [
            ("judge", "open_clip_model.safetensors"),
            ("vgg", "model.safetensors"),
            ("segmenter", "config.json"),
            ("base", "vae/config.json"),
        ],
    )
    def test_a_damaged_model(self, models, pairs, workplace, role, file):
        damaged = shutil.copytree(getattr(pairs.evaluate, role).name, workplace / "damaged")
        (damaged / file).write_bytes((damaged / file).read_bytes()[:-9])
        with pytest.raises(InputError, match=rf"^evaluate\.{role}\.name = 'damaged': "):
            evaluate(params_for(models, evaluate={role: {"name": "damaged"}}))

    @pytest.mark.parametrize(
        ("content", "complaint"),
        [
            (None, r"missing or damaged: .*No such file"),
            ("step,total\n1\n", "missing or damaged"),
            ("step,total\n1,2,3\n", "missing or damaged"),
            ("step,total\n1,x\n", "missing or damaged: could not convert string to float: 'x'"),
            ("step\n\udcff\n", "missing or damaged"),
            ("", "has no column gradient_norm"),
            ("step,gradient_norm\n1,2\n", "has no column raw/global_clip"),
        ],
    )
    def test_damaged_losses(self, pairs, content, complaint):
        losses = Path("models/losses.csv")
        losses.unlink() if content is None else losses.write_bytes(content.encode(errors="surrogateescape"))
        with pytest.raises(InputError, match=rf"^models/losses\.csv: {complaint}.*; run the stage train$"):
            evaluate(pairs)

    def test_damaged_training_pair_and_counts(self, pairs):
        for path in (TRAINING_SET / "00000.parquet", TRAINING_SET / "counts.json"):
            before = path.read_bytes()
            path.write_bytes(before[: len(before) // 2])
            with pytest.raises(InputError, match=rf"^{path}: "):
                evaluate(pairs)
            path.write_bytes(before)

    def test_no_case(self, pairs):
        with pytest.raises(InputError, match=r"^evaluate\.cases = 'data/heldout': holds no case; raise retrieve\.held_out"):
            evaluate(pairs.model_copy(update={"evaluate": pairs.evaluate.model_copy(update={"cases": "data/heldout"})}))

    @pytest.mark.parametrize(
        ("metadata", "complaint"),
        [
            *(({}, "has no relation"), ({"relation": ["noun"]}, "has no relation")),
            ({"relation": "noun", "candidates": ["a", "b"]}, r": candidates = \['a', 'b'\]: must be a list of terms"),
        ],
    )
    def test_a_case_with_damaged_metadata(self, pairs, metadata, complaint):
        cases = [replace(case, metadata=metadata) for case in samples_of(TRAINING_SET)]
        write_shards(EVALUATION, ".tar", 1, lambda path, _: write_edits(path, cases))
        params = pairs.model_copy(update={"evaluate": pairs.evaluate.model_copy(update={"cases": str(EVALUATION)})})
        with pytest.raises(InputError, match=rf"^data/evaluation/00000\.tar: sample 000000000: metadata ?{complaint}"):
            evaluate(params)


def test_the_record_of_a_version_has_its_scores(inside):
    (kept,) = Path("mlruns").rglob("lineage/metrics.json")
    assert kept.read_bytes() == (REPORTS / "metrics.json").read_bytes()
