"""``iedit serve``: which code and which model the server gets."""

import os
import sys
from pathlib import Path

import pytest

from stages.cli import main as cli
from stages.tracking import registry, store


@pytest.fixture
def started(monkeypatch) -> list[tuple]:
    """What the process would have become."""
    calls: list[tuple] = []
    monkeypatch.setattr(os, "execve", lambda *what: calls.append(what))
    return calls


def test_the_server_runs_on_the_code_of_the_version(champion, started):
    assert cli.main(["serve", "--port", "5009"]) == 0
    ((program, command, environment),) = started
    folder = registry.fetch_model(store.connect(), registry.CHAMPION_URI)
    assert program == sys.executable
    assert command[1:] == ["-P", "-m", "stages.tracking.server", str(folder), "127.0.0.1", "5009"]
    assert Path(environment["PYTHONPATH"], "stages", "tracking", "server.py").is_file()
    assert folder in Path(environment["PYTHONPATH"]).parents


def test_a_version_without_a_server_is_refused(champion, started, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(registry, "fetch_model", lambda *_: tmp_path)
    assert cli.main(["serve", "--model", "models:/iedit/1"]) == 2
    assert capsys.readouterr().err.startswith("error: models:/iedit/1: its code is older than this command; ")
    assert started == []


def test_without_a_store_serve_is_refused(tmp_path, started, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert cli.main(["serve"]) == 2
    assert capsys.readouterr().err.startswith("error: mlflow.db: no such file")
    assert started == []
