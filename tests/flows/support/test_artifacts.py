"""The pages of runs: progress, counts, edits, and the training in MLflow."""

import logging
from pathlib import Path

import httpx
import pytest
from PIL import Image
from prefect import flow
from prefect.artifacts import Artifact

from flows.support import artifacts
from flows.support.artifacts import Progress
from stages.core.errors import InputError
from stages.tracking import pages, store

NOWHERE = "http://127.0.0.1:9"


class TestProgress:
    def test_long_stages_have_a_page_and_short_ones_none(self, server):
        @flow
        def long_and_short():
            for percent in (12, 70, 100):
                slow.follow(f"train: {percent:3}%|##   | {percent}/100 [00:10<00:10]")
            short.follow("caption: 100%|#####| 8/8 [00:01<00:00]")
            short.follow("epoch 12: 5 of 7 | 70%")

        slow, short = Progress("some_stage"), Progress("short")
        long_and_short()
        assert Artifact.get("some-stage-progress").data == 100
        assert Artifact.get("short-progress") is None

    def test_an_absent_server_does_not_end_the_stage(self, monkeypatch, caplog):
        def fail(**_: object) -> None:
            raise httpx.ConnectError("nobody answers")

        monkeypatch.setattr(artifacts, "create_progress_artifact", fail)
        monkeypatch.setattr(artifacts, "get_run_logger", logging.getLogger)
        with caplog.at_level(logging.WARNING):
            Progress("some_stage").follow("train:  12%|##   | 12/100 [00:10<00:10]")
        assert any("progress is not shown: nobody answers" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("content", ['{"done":', "[5]", "\udcff"])
def test_damaged_counts_are_named(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    counts = Path("logs/first.json")
    counts.parent.mkdir()
    counts.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=r"logs/first\.json: damaged; remove it"):
        artifacts.publish_counts("first", started=0.0)


class TestResults:
    @pytest.fixture(autouse=True)
    def model(self, client) -> None:
        Path("models/iedit").mkdir(parents=True)
        Path("models/iedit/iedit.json").write_text("{}")

    def test_edits_are_embedded_and_an_unknown_training_is_left_out(self, published):
        Path("reports/latest").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save("reports/latest/sheet.png")
        artifacts.publish_evaluation()
        assert published["edits"].startswith("![Edits of held-out cases](data:image/webp;base64,")
        assert set(published) == {"edits"}

    @pytest.mark.parametrize(
        ("address", "shown"),
        [
            (None, "Run `{run}` of the experiment `iedit`; `mlflow ui` shows it."),
            ("https://mlflow.here/", "https://mlflow.here/#/experiments/{experiment}/runs/{run}"),
        ],
    )
    def test_the_training_is_named_or_linked(self, client, published, monkeypatch, address, shown):
        experiment = store.experiment_id(client)
        digest = artifacts.folder_digest(Path("models/iedit"))
        run = client.create_run(experiment, tags={"iedit.model_digest": digest}).info.run_id
        if address is not None:
            monkeypatch.setenv("IEDIT_MLFLOW_PAGES", address)
        artifacts.publish_evaluation()
        assert published == {"mlflow-run": shown.format(run=run, experiment=experiment)}

    def test_an_absent_server_is_named(self, published, monkeypatch):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", NOWHERE)
        with pytest.raises(InputError, match=f"^tracking server {NOWHERE}: "):
            artifacts.publish_evaluation()

    def test_a_link_has_no_password_in_it(self, client, monkeypatch):
        monkeypatch.setattr(pages, "connect", lambda **_: client)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@mlflow.here")
        assert pages.run_page("r") == f"https://mlflow.here/#/experiments/{store.experiment_id(client)}/runs/r"
