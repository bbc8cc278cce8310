"""Versions, aliases, and the files of a registered model."""

import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR

from stages.core.errors import InputError
from stages.core.files import folder_digest
from stages.tracking import history, registry, store
from stages.tracking.errors import store_errors_in_one_line
from tests.support.harness import PATIENCE
from tests.support.versions import champion_number, fail, register


def test_remote_model_is_downloaded_once(champion, tmp_path, monkeypatch):
    """Copies of others that nobody asks for go then: a service follows a champion a night."""
    client, there = store.connect(), registry.fetch_model(store.connect(), registry.CHAMPION_URI)
    remote = "mlflow-artifacts:/models/1"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(client, "get_model_version_download_uri", lambda *_: remote)
    fetched: list[str] = []

    def download(uri: str, dst_path: str) -> str:
        fetched.append(uri)
        return str(shutil.copytree(there, Path(dst_path) / "artifacts"))

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", download)
    for name, days in {"in use": 0, "unused": 2}.items():
        (tmp_path / "iedit" / name / "code").mkdir(parents=True)
        os.utime(tmp_path / "iedit" / name, (time.time() - days * 24 * 3600,) * 2)
    first = registry.fetch_model(client, registry.CHAMPION_URI)
    os.utime(first, (0, 0))
    second = registry.fetch_model(client, registry.CHAMPION_URI)
    assert first == second
    assert fetched == [remote]
    assert folder_digest(first) == folder_digest(there)
    assert sorted(path.name for path in (tmp_path / "iedit").iterdir()) == [".lock", "in use", first.name]
    assert time.time() - first.stat().st_mtime < registry.UNUSED  # it is in use


def test_two_that_fetch_a_model_at_once_get_it_whole(champion, tmp_path, monkeypatch):
    client, there = store.connect(), registry.fetch_model(store.connect(), registry.CHAMPION_URI)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(client, "get_model_version_download_uri", lambda *_: "mlflow-artifacts:/models/1")
    fetching, second = threading.Event(), threading.Event()

    def download(_: str, dst_path: str) -> str:
        (second if fetching.is_set() else fetching).set()
        place = Path(dst_path) / "artifacts"
        for number, path in enumerate(sorted(path for path in there.rglob("*") if path.is_file())):
            copy = place / path.relative_to(there)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            if number == 0:
                second.wait(1)  # for one that does not wait for this one
        return str(place)

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", download)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(registry.fetch_model, client, registry.CHAMPION_URI)
        assert fetching.wait(PATIENCE)
        other = pool.submit(registry.fetch_model, client, registry.CHAMPION_URI)
        assert {folder_digest(first.result()), folder_digest(other.result())} == {folder_digest(there)}


def test_moved_model_files_are_reported(champion, monkeypatch):
    client = store.connect()
    monkeypatch.setattr(client, "get_model_version_download_uri", lambda *_: "file:///nowhere/artifacts")
    with pytest.raises(InputError, match=r"^models:/iedit@champion: /nowhere/artifacts: no such folder; the artifacts"):
        registry.fetch_model(client, registry.CHAMPION_URI)


def test_before_the_first_champion_the_next_command_is_named(client):
    register(client)
    with pytest.raises(registry.UnknownVersionError, match=r"^models:/iedit@champion: .* not found.*; `dvc repro` trains"):
        registry.exact_uri(registry.CHAMPION_URI)


def test_failing_store_is_not_taken_for_no_champion(champion, monkeypatch):
    monkeypatch.setattr(store.MlflowClient, "get_model_version_by_alias", fail)
    with pytest.raises(InputError, match=r"^tracking store: gone$"), store_errors_in_one_line():
        registry.current_champion()


def test_alias_made_by_two_at_once_is_set(client, monkeypatch):
    first, second = register(client), register(client)
    honest = client.set_registered_model_alias

    def refuse_once(*arguments: str) -> None:
        monkeypatch.setattr(client, "set_registered_model_alias", honest)
        honest("iedit", "champion", first.version)  # by the other one, meanwhile
        raise MlflowException("(sqlite3.IntegrityError) UNIQUE constraint failed", error_code=INTERNAL_ERROR)

    monkeypatch.setattr(client, "set_registered_model_alias", refuse_once)
    registry.set_alias(client, "champion", second.version)
    assert champion_number() == second.version


@pytest.mark.parametrize("there", [True, False])
def test_other_failures_to_set_an_alias_are_raised(client, monkeypatch, there):
    first, second = register(client), register(client)
    if there:
        history.promote(first.version, "test")
    monkeypatch.setattr(store.MlflowClient, "set_registered_model_alias", fail)
    with pytest.raises(InputError, match=r"^tracking store: gone$"), store_errors_in_one_line():
        history.promote(second.version, "test")
    assert champion_number() == (first.version if there else None)


NO_VERSIONS = (
    "nonsense",
    "models:/iedit",
    "models:/iedit/",
    "models:/iedit@",
    "models:/iedit/1/2",
    "models:/iedit/x",
    "-1",
    "",
)


@pytest.mark.parametrize("text", [*NO_VERSIONS, "\u0663"])  # a digit of another script
def test_what_names_no_version_is_refused_with_the_forms(client, text):
    with pytest.raises(InputError, match=r": names no version, as a number, models:/iedit/NUMBER or "):
        registry.find_version(text)


class TestDeletedExperiment:
    """The registry outlives the experiment that its versions were trained in."""

    @pytest.fixture
    def client(self, client):
        register(client)
        history.promote("1", "test")
        client.delete_experiment(store.experiment_id(client))
        return client

    def test_versions_and_history_are_read(self, client):
        assert registry.find_version("1") == registry.current_champion() == registry.latest_version()
        assert [event.version for event in history.read_events(client)] == ["1"]

    def test_what_writes_runs_says_that_it_is_deleted(self, client):
        with pytest.raises(InputError, match="deleted experiment 'iedit'"):
            store.connect()

    def test_readers_bring_nothing_back(self, client):
        store.connect(create=False)
        assert client.get_experiment_by_name(store.EXPERIMENT).lifecycle_stage == "deleted"
