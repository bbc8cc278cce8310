"""A disk without a byte left: pruning makes room, MLflow's server is named as full, and a run waits for Prefect's."""

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
PUBLISHES = """
import time
from pathlib import Path
from prefect import flow, task
from prefect.artifacts import create_table_artifact
from flows.support.cancellation import cancellable
from flows.support.tasks import RETRIED, is_transient
@task(retry_condition_fn=is_transient, **RETRIED)
def publish():
    create_table_artifact(key="made", table=[{"number": 1}])
@flow
def pipeline(force: bool = False, targets: list[str] | None = None):
    with cancellable():
        while Path("room").exists():
            time.sleep(0.2)
        publish()
"""
PREFECT = """
import os, shutil, sys, time
from pathlib import Path
from tests.ops.year import small_disk

with small_disk() as folder:
    import httpx
    from tests.ops.platform import ANSWER, Platform, until
    from tests.support.small_project import make_project

    make_project(folder / "iedit")
    Path(folder, "iedit/flows/pipeline.py").write_text(sys.argv[1])
    room, ballast = Path(folder, "iedit/room"), Path(folder, "ballast")
    room.touch()
    platform = Platform(folder / "iedit")

    def is_full() -> bool:
        with ballast.open("ab") as file:
            if free := shutil.disk_usage(folder).free:
                os.posix_fallocate(file.fileno(), file.tell(), free)
        try:
            platform.order("pipeline/on-demand")
        except httpx.HTTPStatusError as error:
            return error.response.status_code == 500
        return False

    try:
        platform.start("prefect-server")
        platform.make("deploy")
        platform.start("worker")
        run_id = platform.order("pipeline/on-demand")
        until(lambda: platform.state(run_id) == "Running")
        until(is_full, ANSWER)
        room.unlink()
        time.sleep(60)
        print(platform.state(run_id))
        ballast.unlink()
        print(platform.end_of(run_id), *platform.artifacts(run_id))
    finally:
        platform.stop_all()
"""


def run(code: str, *arguments: str) -> list[str]:
    """Run code that mounts a small disk, with arguments, and return the lines that it prints."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
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


def test_a_run_outlasts_the_full_disk_of_prefects_server():
    assert run(PREFECT, PUBLISHES)[-2:] == ["Running", "Completed made"]
