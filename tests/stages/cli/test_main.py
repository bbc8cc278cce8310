"""The command ``iedit`` as a whole: exit codes, errors, and what it imports."""

import os
import subprocess
import sys

import pytest
from mlflow.exceptions import MlflowException

from stages.cli import main as cli
from stages.core.paths import REPORTS
from stages.editing.editor import Editor
from stages.tracking import registry
from tests.support import ROOT


@pytest.fixture(autouse=True)
def folder(photo_folder):
    return photo_folder


def test_ctrl_c_is_one_line(monkeypatch, capsys):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Editor, "load", interrupt)
    assert cli.main(["edit", "photo.png", "a dog", "--model", "model"]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "error: interrupted"


def test_closed_output_ends_the_command_silently(folder):
    (folder / REPORTS).mkdir(parents=True)
    (folder / REPORTS / "table.md").write_text("| method |\n" * 100_000)
    command = [sys.executable, "-m", "stages.cli.main", "summary"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reading:
        assert reading.stdout.read(1) == b"|"
        reading.stdout.close()
        assert reading.stderr.read() == b""
    assert reading.returncode == 141


def test_failing_store_is_one_line(folder, monkeypatch, capsys):
    def fail(*_: object) -> None:
        raise MlflowException("the server\nis gone")

    (folder / REPORTS).mkdir(parents=True)
    (folder / REPORTS / "table.md").write_text("| method |\n")
    monkeypatch.setattr(registry, "latest_version", fail)
    monkeypatch.setattr(registry, "load_editor", fail)
    for arguments in (["summary"], ["edit", "photo.png", "a dog", "--model", "models:/iedit/1"]):
        assert cli.main(arguments) == 2
        assert capsys.readouterr().err == "error: tracking store: the server\n"


def test_its_addresses_are_those_of_the_registry():
    wanted = (registry.CHAMPION_URI, f"models:/{registry.NAME}@{registry.CHALLENGER}")
    assert wanted == (cli.CHAMPION_URI, cli.CHALLENGER_URI)


def test_help_imports_nothing_slow():
    code = "import sys, stages.cli.main; print([name for name in ('torch', 'mlflow', 'diffusers') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
