"""Pruning works on a disk without a byte left, and makes room there."""

import os
import subprocess
import sys

import pytest

from tests.support import ROOT

PRUNE = """
import os, shutil
from pathlib import Path
from tests.ops.year import small_disk

with small_disk() as folder:
    # Only now, because a process with threads may not mount anything.
    from dvc.repo import Repo
    from stages.cli.main import main
    from stages.core.run import alone
    from stages.tracking import store
    from tests.support.recorded_project import make_recorded_project
    from tests.support.versions import keep_record, register

    Path(folder, "iedit").mkdir()
    os.chdir(folder / "iedit")
    make_recorded_project()
    client = store.connect()
    client.create_registered_model("iedit")
    for version in [register(client) for _ in range(2)]:
        keep_record(version)
    Path("forgotten").write_bytes(bytes(3_000_000))
    with Repo() as repo:
        repo.add("forgotten")
    for name in ("forgotten", "forgotten.dvc"):
        Path(name).unlink()
    with alone("a stage"):
        pass
    with Path("../ballast").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(folder).free)
    before = shutil.disk_usage(folder).free
    code = main(["prune", "--keep", "1"])
    print(code, before, shutil.disk_usage(folder).free, len(client.search_model_versions("name = 'iedit'")))
"""


def test_pruning_makes_room_on_a_full_disk():
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run([sys.executable, "-c", PRUNE], env=environment, capture_output=True, text=True, check=False)
    if "no mounts of its own" in done.stderr:
        pytest.skip("this process may not mount a small disk")
    assert done.returncode == 0, done.stderr[-3000:]
    code, before, after, versions = map(int, done.stdout.splitlines()[-1].split())
    assert (code, before, versions) == (0, 0, 1), done.stdout + done.stderr[-3000:]
    assert after >= 3_000_000
