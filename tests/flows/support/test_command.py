"""Flows from the command line: one line for an error, an exit code, and Ctrl-C at any moment."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows import ablation, pipeline, tables
from flows.support import command
from stages.core.errors import InputError
from stages.core.interrupt import MESSAGE
from stages.core.params_file import ParameterError
from tests.support import ROOT
from tests.support.composed import copy_conf
from tests.support.flow_project import make_dvc_project

STUCK_SERVER = """
import sys, time
if "uvicorn" in sys.orig_argv:
    print("the server starts", flush=True)
    time.sleep(1000)
"""


@pytest.mark.parametrize("run", [pipeline, ablation, tables])
@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("logs/first.json: damaged; remove it"), 2, "error: logs/first.json: damaged; remove it"),
        (ParameterError("params.yaml: seed: is missing"), 2, "error: params.yaml: seed: is missing"),
        (KeyboardInterrupt(), 130, MESSAGE),
    ],
)
def test_errors_of_a_flow_are_one_line(monkeypatch, capsys, run, error, code, line):
    def stop(**_: object) -> None:
        raise error

    name = run.__name__.rpartition(".")[2]
    monkeypatch.setattr(command, "_start_server", lambda: None)
    monkeypatch.setattr(run, name, stop)
    for module in (ablation, tables):
        monkeypatch.setattr(module, "check_project", lambda: None)
    monkeypatch.setattr("sys.argv", [name])
    assert run.main() == code
    assert capsys.readouterr().err == f"{line}\n"


def test_an_unknown_stage_is_one_line(dvc_project, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pipeline", "thrid"])
    assert pipeline.main() == 2
    assert capsys.readouterr().err.startswith("error: thrid: no such stage")


def test_a_failed_stage_is_exit_code_1(dvc_project, server, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pipeline", "lonely"])
    assert pipeline.main() == 1
    assert "error: repro --single-item lonely: exit code" in capsys.readouterr().err


def test_an_interrupt_while_the_server_starts_is_one_line(dvc_project, monkeypatch, capsys):
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_start_server", interrupt)
    monkeypatch.setattr(sys, "argv", ["pipeline"])
    assert pipeline.main() == 130
    assert capsys.readouterr().err == f"{MESSAGE}\n"


def test_an_error_of_the_server_is_raised(dvc_project, monkeypatch):
    def fail(**_) -> None:
        raise RuntimeError("no server")

    monkeypatch.setattr(command, "get_client", fail)
    monkeypatch.setattr(sys, "argv", ["pipeline"])
    with pytest.raises(RuntimeError, match="no server"):
        pipeline.main()


def start_flow(folder: Path, **environment: str) -> subprocess.Popen[str]:
    """Start the flow of a project in a session of its own, as a terminal would."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(folder / "prefect")} | environment
    environment.pop("PREFECT_API_URL", None)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    words = [sys.executable, "-m", "flows.pipeline"]
    return subprocess.Popen(words, cwd=folder, env=environment, start_new_session=True, **pipes)


@pytest.mark.exhaustive
def test_ctrl_c_ends_flow_stage_and_server_in_one_line(tmp_path, handles_interrupts):
    """A terminal interrupts everything that runs in it: the flow, and the server that Prefect started for it."""
    make_dvc_project(tmp_path, "stages:\n  slow:\n    cmd: echo slow is $$ && exec sleep 100\n")
    copy_conf(tmp_path)
    with start_flow(tmp_path) as flow:
        lines = []
        for line in flow.stdout:
            lines.append(line)
            if "- slow is " in line:
                pid, before = int(line.split()[-1]), len(lines)
                os.killpg(flow.pid, signal.SIGINT)
    assert flow.returncode == 130, lines
    assert [line.partition(";")[0] for line in lines[before:]] == ["error: interrupted"]
    for ended in (pid, -flow.pid):
        with pytest.raises(ProcessLookupError):
            os.kill(ended, 0)


def test_ctrl_c_ends_the_flow_while_its_server_starts(tmp_path, handles_interrupts):
    make_dvc_project(tmp_path, "stages:\n  first:\n    cmd: echo first\n")
    (tmp_path / "sitecustomize.py").write_text(STUCK_SERVER)  # Python runs it first of all
    with start_flow(tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}") as flow:
        lines = []
        for line in flow.stdout:
            lines.append(line)
            if line == "the server starts\n":
                before = len(lines)
                os.killpg(flow.pid, signal.SIGINT)
    assert flow.returncode == 130, lines
    assert [line.partition(";")[0] for line in lines[before:]] == ["error: interrupted"]
    with pytest.raises(ProcessLookupError):
        os.kill(-flow.pid, 0)
