"""MLflow's server on PostgreSQL with its artifacts on S3, by variables alone; and a backup of servers at work."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import sqlalchemy
from PIL import Image

from tests.ops.platform import Platform
from tests.ops.storage import AWS, postgresql_programs, postgresql_server, s3_server
from tests.support import ROOT
from tests.support.small_project import commit, make_project, run

REGISTER = "from pathlib import Path; from tests.support.registered import make_registered_project as m; m(Path.cwd())"
PRUNABLE = """
from stages.tracking import store
from stages.tracking.training_run import TRAINING
client = store.connect()
run = client.create_run(store.experiment_id(client), tags={TRAINING: "a name"}).info.run_id
client.log_artifact(run, "params.yaml", "checkpoints")
client.set_terminated(run)
"""


@pytest.fixture(scope="module")
def bucket(tmp_path_factory) -> Iterator[str]:
    """The address of an S3 server that has the bucket "models"."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in AWS.items():
            patch.setenv(name, value)
        with s3_server(tmp_path_factory.mktemp("s3") / "log", "models") as address:
            yield address


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The address of a database of a PostgreSQL server."""
    pytest.importorskip("psycopg2")
    programs = postgresql_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    with postgresql_server(programs, "mlflow") as address:
        yield address


def start(folder: Path, **variables: str) -> Platform:
    """Return a platform on a small project of git and DVC, whose servers keep their state in the project."""
    make_project(folder)
    platform = Platform(folder)
    platform.environment |= {"SERVERS": str(folder / ".servers"), "MLFLOW_TRACKING_URI": platform.mlflow, **variables}
    return platform


def python(platform: Platform, *arguments: str, folder: Path | None = None) -> str:
    """Run Python with the packages of this checkout, in a folder, usually the project's."""
    command, environment = [sys.executable, *arguments], platform.environment | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder or platform.project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def iedit(platform: Platform, *arguments: str, folder: Path | None = None) -> str:
    return python(platform, "-m", "stages.cli.main", *arguments, folder=folder)


@pytest.fixture(scope="module")
def elsewhere(bucket, database, tmp_path_factory) -> Iterator[Platform]:
    """A server on PostgreSQL and S3, whose registry has a champion."""
    platform = start(
        tmp_path_factory.mktemp("elsewhere") / "iedit",
        MLFLOW_BACKEND_STORE_URI=database,
        MLFLOW_ARTIFACTS_DESTINATION="s3://models/iedit",
        MLFLOW_S3_ENDPOINT_URL=bucket,
    )
    try:
        platform.start("mlflow-server")
        python(platform, "-c", REGISTER)
        yield platform
    finally:
        platform.stop_all()


def keys(address: str) -> list[str]:
    """The keys of all objects of the bucket."""
    pages = boto3.client("s3", endpoint_url=address).get_paginator("list_objects_v2").paginate(Bucket="models")
    return [each["Key"] for page in pages for each in page.get("Contents", [])]


def test_the_registry_is_in_postgresql_and_the_model_on_s3(elsewhere, bucket, database, tmp_path):
    engine = sqlalchemy.create_engine(database)
    with engine.connect() as connection:
        aliases = connection.execute(sqlalchemy.text("SELECT alias, version FROM registered_model_aliases")).all()
    engine.dispose()
    assert ("champion", "1") in [(alias, str(version)) for alias, version in aliases]
    assert any(key.endswith("/MLmodel") for key in keys(bucket))
    assert not list(elsewhere.project.rglob("mlflow.db"))
    assert not list(elsewhere.project.rglob("MLmodel"))
    shutil.copy(elsewhere.project / "photo.png", tmp_path)
    iedit(elsewhere, "edit", "photo.png", "a red dog", "--term", "dog", folder=tmp_path)
    assert Image.open(tmp_path / "edited.png").size == (48, 40)


def test_pruning_removes_objects_from_s3(elsewhere, bucket):
    python(elsewhere, "-c", PRUNABLE)
    before = keys(bucket)
    iedit(elsewhere, "prune", "--keep", "1")
    assert {key for key in before if "/checkpoints/" in key} == set(before) - set(keys(bucket)) != set()


def test_servers_at_work_are_backed_up_and_restored(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    platform = start(tmp_path / "iedit")
    project = platform.project
    try:
        platform.start("server")
        platform.make("deploy")
        schedule = platform.deployment("refresh/nightly")["schedules"][0]["id"]
        platform.ask(
            f"deployments/{platform.deployment('refresh/nightly')['id']}/schedules/{schedule}", {"active": False}, "PATCH"
        )
        python(platform, "-c", REGISTER)
        (project / "pictures").write_text("what a stage has made")
        run(project, "dvc", "add", "--quiet", "pictures")
        run(project, "dvc", "remote", "add", "--default", "own", str(tmp_path / "remote"))
        run(project, "dvc", "push")
        commit(project, "data")
        iedit(platform, "backup", str(tmp_path / "kept.tar"))
    finally:
        platform.stop_all()
    run(tmp_path, "git", "clone", "-q", str(project), "clone")
    shutil.rmtree(project)
    (tmp_path / "clone").rename(project)

    said = iedit(platform, "restore", str(tmp_path / "kept.tar"))
    assert "dvc pull brings the data" in said
    run(project, "dvc", "pull", "pictures.dvc")
    assert (project / "pictures").read_text() == "what a stage has made"
    again = Platform(project)
    again.environment |= {"SERVERS": str(project / ".servers"), "MLFLOW_TRACKING_URI": again.mlflow}
    try:
        again.start("server")
        assert again.deployment("refresh/nightly")["schedules"][0]["active"] is False
        iedit(again, "edit", "photo.png", "a red dog", "--term", "dog")
        assert "version 1  promoted" in iedit(again, "history")
    finally:
        again.stop_all()
