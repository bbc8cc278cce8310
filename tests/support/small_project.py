"""A copy of the project with few images and few steps, for tests that run it as a user does."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

from stages.core.choices import flat
from stages.core.composition import apply_choices
from tests.support import ROOT

FILES = (
    *("Makefile", "dvc.yaml", "params.yaml", "prefect.yaml", "pyproject.toml", "requirements.lock"),
    *(".dvcignore", ".gitignore"),
)
SMALL: dict[str, Any] = {
    "threads": 1,
    "ingest": {"source": {"images": 48, "cases": 4}, "shard_size": 24},
    "train": {"steps": 3, "batch": 2, "checkpoint_every": 2},
    "sampling": {"steps": 4},
    "evaluate": {"max_cases": 4, "batch": 4, "gallery": 2, "bootstrap": 20},
    "retrieve": {"min_image_image": -1.0, "min_text_image": -1.0, "min_directional": -1.0, "text_gain": False},
    "segment": {"min_area": 0.0, "max_area": 1.0},
}


def environment_of(project: Path) -> dict[str, str]:
    environment = os.environ | {"DVC_NO_ANALYTICS": "1", "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment["PREFECT_HOME"] = str(project.parent / "prefect")
    environment.pop("MLFLOW_TRACKING_URI", None)
    return environment


def run(project: Path, *command: str) -> str:
    environment = environment_of(project)
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
    return done.stdout + done.stderr


def assert_up_to_date(project: Path) -> None:
    """DVC would run nothing but what looks at the models and at the source, every time."""
    always = run(project, "dvc", "status").replace("always changed", "").split()
    assert sorted(always) == ["models:", "source:"]


def set_params(project: Path, changes: Mapping[str, Any]) -> None:
    """Choose values, section by section, for the stages and for experiments."""
    choose(project, *(f"{key}={json.dumps(value)}" for key, value in flat(changes).items()))


def choose(project: Path, *choices: str) -> None:
    """Run ``iedit configure`` in a project."""
    with chdir(project):
        apply_choices(choices)


def make_project(folder: Path) -> None:
    """Make the copy in ``folder``: a git repository with a commit, where nothing has run yet."""
    ignored = shutil.ignore_patterns("build", "__pycache__")
    for name in ("stages", "flows", "nano", "conf"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    for path in ("data/nltk", "reports/samples"):
        shutil.copytree(ROOT / path, folder / path)
    set_params(folder, SMALL)
    run(folder, "git", "init", "-q")
    run(folder, "dvc", "init", "-q")
    commit(folder, "start")


def commit(project: Path, message: str, changed: str = "-A") -> None:
    """Commit a path, or everything that changed."""
    run(project, "git", "add", changed)
    run(project, "git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qm", message)
