import json
import logging
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from prefect.artifacts import Artifact

import flows
from flows.pipeline import pipeline
from flows.support.process import CommandError
from stages.core.errors import InputError


def test_analytics_are_off():
    assert flows.os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert os.environ["DVC_NO_ANALYTICS"] == os.environ["DO_NOT_TRACK"] == "1"


def test_it_brings_every_stage_up_to_date(dvc_project, server, caplog):
    with caplog.at_level(logging.INFO, logger="prefect"):
        assert pipeline(targets=["third"]) == ["first", "second", "third"]
    lines = [record.getMessage() for record in caplog.records]
    assert "first speaks" in lines
    assert "bar 100%" in lines
    assert "bar 50%" not in lines
    counts = Artifact.get("first-counts")
    assert counts is not None
    assert counts.data == '[{"what": "done", "count": 5}, {"what": "dropped: too small", "count": 2}]'
    results = Artifact.get("results")
    assert results is not None
    assert results.data == "the end\n"
    assert Path("b.txt").read_text() == "a\n"

    caplog.clear()
    with caplog.at_level(logging.INFO, logger="prefect"):
        pipeline(targets=["third"])
    assert "first speaks" not in [record.getMessage() for record in caplog.records]
    again = Artifact.get("first-counts")
    assert again is not None
    assert again.description == "Samples of first; nothing changed, so these come from an earlier run"


def test_a_failed_stage_fails_the_flow(dvc_project, server):
    with pytest.raises(CommandError, match=r"(?s)--single-item lonely: exit code .*lonely breaks"):
        pipeline(targets=["lonely"])


def test_nothing_runs_with_values_that_conf_does_not_hold(dvc_project, server, monkeypatch):
    """As after an upgrade that was killed, where params.yaml holds the release's defaults."""
    params = Path("params.yaml")
    composed = params.read_text()
    monkeypatch.setattr("flows.pipeline.run_stages", lambda *_, **__: pytest.fail("a stage was run"))
    params.write_text(composed.replace("steps: 400", "steps: 700"))
    try:
        with pytest.raises(InputError, match=r"^params\.yaml: train\.steps = 700, but conf composes to 400"):
            pipeline(targets=["first"], force=True)
    finally:
        params.write_text(composed)


def test_without_a_table_none_is_published(dvc_project, server, monkeypatch):
    def publish(**_) -> None:
        pytest.fail("a table was published")

    monkeypatch.setattr("flows.support.artifacts.TABLE", Path("nowhere.md"))
    monkeypatch.setattr("flows.support.artifacts.create_markdown_artifact", publish)
    assert pipeline(targets=["first"]) == ["first"]


def test_the_lock_of_a_killed_run_is_ignored(dvc_project, server):
    killed = subprocess.Popen(["true"])
    killed.wait()
    left = {"pid": killed.pid, "cmd": "dvc repro"}
    held = json.dumps({"read": {}, "write": {str(dvc_project / "a.txt"): left}})
    (dvc_project / ".dvc/tmp").mkdir(exist_ok=True)
    (dvc_project / ".dvc/tmp/rwlock").write_text(held)
    assert pipeline(targets=["first"], force=True) == ["first"]


@pytest.mark.parametrize("content", ["", "schema: '2.0'\nstages:\n  first: {cmd: ["])
def test_a_record_cut_short_stops_no_run(dvc_project, server, content, caplog):
    """As DVC leaves it when it is killed, or the disk is full, while it writes there."""
    Path("dvc.lock").write_text(content)
    with caplog.at_level(logging.WARNING, logger="prefect"):
        assert pipeline(targets=["third"]) == ["first", "second", "third"]
    assert Path("dvc.lock.damaged").read_text() == content
    assert any(record.getMessage().startswith("dvc.lock: damaged") for record in caplog.records)
    assert set(yaml.safe_load(Path("dvc.lock").read_text())["stages"]) == {"first", "second", "third"}
