"""A small git and DVC project with outs of three stages, the first of which DVC has cached and recorded."""

import subprocess
from pathlib import Path

import yaml

from tests.support import ROOT

WHO = ("-c", "user.name=t", "-c", "user.email=t@localhost")
PIPELINE = {
    "stages": {
        "evaluate": {"cmd": "true", "deps": ["models/iedit", "data/a/part"], "metrics": ["reports/latest/metrics.json"]},
        "train": {"cmd": "true", "deps": ["data/a"], "outs": [{"models/iedit": {"persist": True}}]},
        "ingest": {"cmd": "true", "outs": ["data/a"]},
    }
}


def git(*arguments: str) -> str:
    """Run git in the current folder and return its output."""
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()


def commit(message: str) -> None:
    git("add", "-A")
    git(*WHO, "commit", "-qm", message)


def make_recorded_project() -> None:
    """Make the project in the current folder, and commit everything apart from dvc.lock."""
    from dvc.repo import Repo

    for name in ("data/a/part", "data/a/deep/er", "models/iedit/unet", "reports/latest/metrics.json"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
    Path(".gitignore").write_text("/models/\n/mlflow.db\n/mlruns/\n/kept/\n/reports/latest/\n")
    git("init", "-q")
    with Repo.init() as repo:
        (added,) = repo.add("data/a")
        md5 = added.outs[0].hash_info.value
    Path("data/a.dvc").unlink()
    Path("dvc.yaml").write_text(yaml.safe_dump(PIPELINE))
    commit("one")
    ingested = {"cmd": "true", "outs": [{"path": "data/a", "hash": "md5", "md5": md5}]}
    Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"ingest": ingested}}))
