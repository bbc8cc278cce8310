"""A disk without a byte left: pruning works there, and makes room; MLflow's server is named as full."""

import os
import re
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
SERVER = """
import os, shutil
from pathlib import Path
from tests.ops.year import small_disk

with small_disk() as folder:
    from stages.core.files import NoRoomError
    from stages.tracking import store
    from stages.tracking.errors import store_errors_in_one_line
    from tests.ops.platform import Platform
    from tests.support.small_project import make_project

    make_project(folder / "iedit")
    platform = Platform(folder / "iedit")
    os.environ["MLFLOW_TRACKING_URI"] = platform.mlflow
    try:
        platform.start("mlflow-server")
        client = store.connect()
        run = client.create_run(store.experiment_id(client)).info.run_id
        with Path(folder, "ballast").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(folder).free)
        for use in (store.connect, lambda: client.log_artifact(run, str(folder / "iedit/params.yaml"))):
            try:
                with store_errors_in_one_line(), store.without_retries(60):
                    use()
            except NoRoomError as error:
                print(error)
    finally:
        platform.stop_all()
"""


def run(code: str) -> list[str]:
    """Run code that mounts a small disk, and return the lines that it prints."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    if "no mounts of its own" in done.stderr:
        pytest.skip("this process may not mount a small disk")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout.splitlines()


def test_pruning_makes_room_on_a_full_disk():
    printed = run(PRUNE)
    code, before, after, versions = map(int, printed[-1].split())
    assert (code, before, versions) == (0, 0, 1), printed
    assert after >= 3_000_000


def test_a_server_on_a_full_disk_is_named():
    at_the_start, a_file = run(SERVER)[-2:]
    assert re.fullmatch(r"tracking server http://127\.0\.0\.1:\d+: database or disk is full on the server", at_the_start)
    assert a_file == "tracking store: database or disk is full on the server"
