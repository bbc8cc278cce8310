"""The command ``iedit`` as a whole: exit codes, errors, and what it imports."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from stages.cli import main as cli
from stages.core.paths import METRICS_FILE, REFERENCE
from stages.editing.editor import Editor
from stages.tracking import registry
from tests.support import ROOT


@pytest.fixture(autouse=True)
def folder(photo_folder):
    return photo_folder


def results(folder: Path) -> None:
    """Put the committed results where the last run's belong."""
    (folder / METRICS_FILE).parent.mkdir(parents=True)
    shutil.copy(ROOT / REFERENCE / "metrics.json", folder / METRICS_FILE)


def test_ctrl_c_is_one_line(monkeypatch, capsys):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Editor, "load", interrupt)
    assert cli.main(["edit", "photo.png", "a dog", "--model", "model"]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "error: interrupted"


def test_full_disk_is_one_line(monkeypatch, capsys):
    def fill(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "edited.png")

    monkeypatch.setattr(Editor, "load", fill)
    assert cli.main(["edit", "photo.png", "a dog", "--model", "model"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "error: [Errno 28] No space left on device: 'edited.png'"


def test_closed_output_ends_the_command_silently(folder):
    results(folder)
    command = [sys.executable, "-m", "stages.cli.main", "summary"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reading:
        reading.stdout.close()
        assert reading.stderr.read() == b""
    assert reading.returncode == 141


def test_failing_store_is_one_line(folder, monkeypatch, capsys):
    def fail(*_: object) -> None:
        raise MlflowException("the server\nis gone")

    results(folder)
    (folder / "mlflow.db").touch()
    monkeypatch.setattr(registry, "latest_version", fail)
    monkeypatch.setattr(registry, "exact_uri", fail)
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


@pytest.mark.parametrize(
    ("arguments", "command", "unknown"),
    [
        (["edit", "photo.png", "a dog", "--bogus"], "edit", "--bogus"),
        (["edit", "photo.png", "a dog", "extra"], "edit", "extra"),
        (["lineage", "1", "--bogus=3"], "lineage", "--bogus=3"),
        (["summary", "extra", "more"], "summary", "extra more"),
    ],
)
def test_unknown_arguments_show_the_usage_of_their_command(capsys, arguments, command, unknown):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert error.startswith(f"usage: iedit {command} ")
    assert error.splitlines()[-1] == f"iedit {command}: error: unrecognized arguments: {unknown}"


def test_edit_without_a_store_says_so_at_once(folder):
    code = (
        "import sys, stages.cli.main as cli; print(cli.main(['edit', 'photo.png', 'a dog']));"
        " print([name for name in ('torch', 'mlflow', 'diffusers') if name in sys.modules])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "2\n[]\n"
    assert done.stderr.startswith("error: mlflow.db: no such file, so no model is registered here; ")
    assert len(done.stderr.splitlines()) == 1
