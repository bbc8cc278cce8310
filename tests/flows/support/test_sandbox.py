"""Experiments compose their parameters from the project's preset and source: real DVC, without stubs."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from dvc.repo import Repo

from flows.support import tasks
from flows.support.sandbox import open_sandbox
from stages.core.composition import apply_choices
from stages.core.errors import InputError
from tests.support import ROOT
from tests.support.composed import composed
from tests.support.experiments import WHO, experiments, git

STAGES = """
stages:
  train:
    cmd: mkdir -p models/iedit && cp params.yaml models/iedit/params.yaml
    params: [train, ingest.source]
    outs: [models/iedit: {persist: true}]
"""
CHOICES = ("preset=paper", "source=folder", "ingest.source.path=photos", "train.steps=800")
PLACE = Path("logs/ablation/project")
PLUGINS = Path("stages/core/hydra_plugins")  # as .dvc/config names it


@pytest.fixture
def project(empty_store, tmp_path, monkeypatch) -> Path:
    """A project of another preset and source than the default's, chosen but not committed; its stage keeps params.yaml."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(tasks, "get_run_logger", logging.getLogger)
    for key, value in zip(("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL"), ("t", "t@localhost"), strict=True):
        monkeypatch.setenv(key, value)
        monkeypatch.setenv(key.replace("AUTHOR", "COMMITTER"), value)
    shutil.copytree(ROOT / "conf", "conf")
    shutil.copytree(ROOT / PLUGINS, PLUGINS, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("params.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, name)
    Path("dvc.yaml").write_text(STAGES)
    git("init", "--quiet")
    Repo.init().close()
    shutil.copy(ROOT / ".dvc" / "config", ".dvc/config")
    git("add", "--all")
    git(*WHO, "commit", "--quiet", "--message", "start")
    shutil.copy(empty_store, tmp_path)
    apply_choices(CHOICES)
    return tmp_path


def trained_with(folder: Path) -> dict:
    return yaml.safe_load((folder / "models" / "iedit" / "params.yaml").read_text())


def test_an_experiment_keeps_preset_source_and_values(project):
    dvc("repro")
    assert trained_with(project) == composed(*CHOICES)
    before = {path: path.read_bytes() for path in map(Path, ("params.yaml", "dvc.lock", "models/iedit/params.yaml"))}
    status = git("status", "--porcelain")
    assert "?? dvc.lock" in status
    with open_sandbox(PLACE) as sandbox:
        assert (sandbox.folder / "dvc.lock").read_bytes() == before[Path("dvc.lock")]
        sandbox.run_experiment("guided", "train", ("ablation=guided", "train.seed=1"), lambda _: None)
        row = trained_with(sandbox.folder)
        sandbox.run_experiment("paper", "train", ("ablation=paper", "train.seed=0"), lambda _: None)
        other = trained_with(sandbox.folder)
    assert other == composed(*CHOICES, "ablation=paper", "train.seed=0")
    assert row == composed(*CHOICES, "ablation=guided", "train.seed=1")
    assert row["ingest"]["source"] == {"kind": "folder", "path": "photos", "text": None}
    assert row["train"]["base"]["name"] == "CompVis/stable-diffusion-v1-4"
    assert (row["train"]["losses"]["noise"], row["train"]["losses"]["guidance_scale"]) == ("guided", 7.5)
    assert experiments() == ["guided", "paper"]
    assert {path: path.read_bytes() for path in before} == before
    assert git("status", "--porcelain") == status


def test_a_record_that_dvc_is_writing_is_copied_whole(project, monkeypatch):
    whole = "schema: '2.0'\nstages: {}\n"
    with Repo() as repo:
        repo.lock.lock()
        Path("dvc.lock").write_text(whole[:20])

        def end(*_: object) -> None:
            Path("dvc.lock").write_text(whole)
            repo.lock.unlock()

        monkeypatch.setattr("dvc.lock.time", SimpleNamespace(sleep=end))  # a command that waits lets the other one end
        with open_sandbox(PLACE) as sandbox:
            assert (sandbox.folder / "dvc.lock").read_text() == whole


def test_a_queued_experiment_has_choices_and_carried_folders(project):
    """By README's and docs' lines; the pictures are in no commit, so -C carries them."""
    Path("photos").mkdir()
    Path("photos/metadata.csv").write_text("file_name,text\n")
    with Path(".gitignore").open("a") as ignored:
        ignored.write("/photos/\n")
    text = Path("dvc.yaml").read_text().replace("cp params", "ls photos && cp params")
    Path("dvc.yaml").write_text(text)
    before = Path("params.yaml").read_bytes()
    dvc("exp", "run", "--temp", "-C", "photos", "-n", "longer", "-S", "train.steps=900")
    assert Path("params.yaml").read_bytes() == before
    assert not Path("models").exists()
    kept = yaml.safe_load(git("show", f"refs/exps/{'/'.join(cut(git('rev-parse', 'HEAD')))}/longer:params.yaml"))
    assert kept == composed(*CHOICES[:-1], "train.steps=900")


def test_a_value_in_params_alone_is_never_undone_silently(project):
    """One that was set by hand, in every form of the command, and one that an experiment has left."""
    path = Path("params.yaml")
    path.write_text(path.read_text().replace("steps: 800", "steps: 700"))
    by_hand, status = path.read_bytes(), git("status", "--porcelain")
    for how in (("-S", "train.batch=4"), (), ("--queue", "-S", "ablation=guided")):
        refusal = dvc("exp", "run", *how, fails=True)
        assert "ERROR: params.yaml: train.steps = 700, but conf composes to 800, and so would experiments; choose" in refusal
        assert (path.read_bytes(), git("status", "--porcelain")) == (by_hand, status)
    assert not Path("models").exists()
    apply_choices(["train.steps=700"])
    dvc("exp", "run", "-S", "train.batch=4")
    assert trained_with(project) == composed(*CHOICES[:-1], "train.steps=700", "train.batch=4")
    refusal = dvc("exp", "run", "-S", "train.batch=5", fails=True)
    assert "params.yaml: train.batch = 4, but conf composes to 1," in refusal
    assert "or recompose with iedit configure preset=paper" in refusal


def cut(commit: str) -> tuple[str, str]:
    return commit[:2], commit[2:]


def dvc(*arguments: str, fails: bool = False) -> str:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
    environment["PYTHONPATH"] = str(ROOT)  # here is a part of the package alone
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert bool(done.returncode) is fails, done.stdout + done.stderr
    return done.stderr


def test_a_folder_without_a_commit_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet")
    refusal = r"^git rev-parse --verify HEAD: fatal: Needed a single revision$"
    with pytest.raises(InputError, match=refusal), open_sandbox(PLACE):
        pytest.fail("there is nothing to run")
