"""``python -m stages NAME`` reports what is wrong with the environment in one line, before any work."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import torch
import yaml

from stages.__main__ import STAGES, main, stage_named
from stages.core.errors import InputError
from stages.tracking import store  # noqa: F401 - slow to import, which must not count as waiting for a server
from tests.support import ROOT, SOON
from tests.support.tiny_corpus import contents, write_training_pairs
from tests.support.training import write_training_set

Run = Callable[[str], tuple[int, str]]


@pytest.fixture
def undisturbed_process(monkeypatch):
    """Restore what a stage changes in its process."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    handler, threads, strict = (
        signal.getsignal(signal.SIGINT),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
    )
    yield
    signal.signal(signal.SIGINT, handler)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(strict)


@pytest.fixture(params=["call", pytest.param("process", marks=pytest.mark.exhaustive)])
def run_stage(request, tmp_path, monkeypatch, capfd, undisturbed_process) -> Run:
    """Return a function that runs a stage in the test's folder and returns its exit code and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(name: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["stages", name])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capfd.readouterr().err

    def process(name: str) -> tuple[int, str]:
        command, environment = [sys.executable, "-m", "stages", name], os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    return {"call": call, "process": process}[request.param]


def test_wrong_parameter_is_one_line(tmp_path, run_stage):
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["seed"] = -1
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    message = "error: params.yaml: seed = -1: must be a whole number, at least 0\n"
    assert run_stage("mutate") == (2, message)


@pytest.mark.parametrize("name", ["seed", "run", "nothing"])
def test_unknown_stage_is_reported_with_the_known_ones(run_stage, name):
    code, error = run_stage(name)
    assert code == 2
    assert error.splitlines()[-1].startswith(f"python -m stages: error: argument stage: invalid choice: '{name}'")
    assert all(stage in error.splitlines()[-1] for stage in STAGES)


def test_missing_model_is_one_line(tmp_path, run_stage):
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["caption"]["model"]["name"] = "models/captioner"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    reason = "caption.model.name = 'models/captioner': neither a folder nor a hub id (owner/name) with a revision"
    assert run_stage("caption") == (2, f"error: {reason}\n")


@pytest.mark.parametrize("listens", [False, True], ids=["nobody listens", "nobody answers"])
@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_unreachable_mlflow_is_one_line(tmp_path, monkeypatch, run_stage, stage, listens):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    write_training_set(tmp_path / "data/training", {"00000": [0]})  # train looks at it first
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts connections and never answers
        port = server.getsockname()[1] if listens else 9  # the discard service's port
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{port}")
        started = time.monotonic()
        code, error = run_stage(stage)
    assert time.monotonic() - started < SOON
    assert code == 2, error
    assert re.fullmatch(rf"error: tracking server http://127\.0\.0\.1:{port}: .+\n", error)
    assert "secret" not in error
    assert {path.name for path in tmp_path.iterdir()} <= {"params.yaml", "data", "logs"}


@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_a_missing_store_is_an_error_before_any_work(models, workplace, monkeypatch, undisturbed_process, stage):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # the port of the discard service: nobody listens
    params = write_training_pairs(models)
    before = contents(workplace)
    monkeypatch.setattr("stages.__main__.on_interrupt", lambda _: None)
    started = time.monotonic()
    with pytest.raises(InputError, match="tracking server"):
        stage_named(stage)(params)
    assert time.monotonic() - started < SOON
    after = contents(workplace)
    assert {name for name in after if after[name] != before.get(name)} == set()
