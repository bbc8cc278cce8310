"""Connecting to a store, above all to one that does not answer."""

import os
import shutil
import socket
import threading
import time
from pathlib import Path

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR
from mlflow.tracking import MlflowClient

from stages.core.errors import InputError
from stages.core.files import NoRoomError
from stages.tracking import store
from tests.support import SOON


def test_switches_of_mlflow():
    from mlflow.environment_variables import MLFLOW_ALLOW_PICKLE_DESERIALIZATION, MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT
    from mlflow.telemetry.utils import MLFLOW_DISABLE_TELEMETRY

    assert MLFLOW_DISABLE_TELEMETRY.get()
    assert not MLFLOW_ALLOW_PICKLE_DESERIALIZATION.get()
    assert MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.get()


def test_server_that_never_answers_fails_soon(monkeypatch):
    monkeypatch.setattr(store, "TIMEOUT", 1)
    with socket.socket() as taken:  # listens, and never answers
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{taken.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(InputError, match=r"tracking server http://127\.0\.0\.1") as caught:
            store.connect()
    assert time.monotonic() - started < SOON
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_server_that_never_ends_its_answer_fails_soon(monkeypatch):
    monkeypatch.setattr(store, "TIMEOUT", 1)
    done = threading.Event()

    def drip() -> None:
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
            while not done.wait(0.2):
                connection.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as server:
        dripping = threading.Thread(target=drip)
        dripping.start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(InputError, match="no answer within 1 seconds"):
            store.connect()
        assert time.monotonic() - started < SOON
        done.set()
        dripping.join()


def test_database_that_never_answers_fails_soon(monkeypatch):
    monkeypatch.setattr(store, "TIMEOUT", 1)
    done = threading.Event()
    monkeypatch.setattr(store, "create_sqlalchemy_engine", lambda _: done.wait(60))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://user:secret@127.0.0.1/iedit")
    started = time.monotonic()
    with pytest.raises(InputError, match=r"postgresql://127\.0\.0\.1/iedit: no answer within 1 seconds"):
        store.connect()
    assert time.monotonic() - started < SOON
    done.set()


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("http://127.0.0.1:9", "refused"),
        ("mysql+nosuchdriver://a:secret@127.0.0.1/x", "nosuchdriver"),
        ("sqlite:///text.db", "file is not a database"),
        ("sqlite:///text.db/x.db", "unable to open database file"),
        ("sqlite:///.", "unable to open database file"),
        ("file:mlruns", "maintenance"),
        ("nosuch://a", "unsupported URI"),
        ("http://127.0.0.1:port", "port"),
    ],
)
def test_unusable_store_is_reported_soon_in_one_line(tmp_path, monkeypatch, uri, reason):
    monkeypatch.chdir(tmp_path)
    Path("text.db").write_text("no database, but a text that is long enough to be one")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    started = time.monotonic()
    with pytest.raises(InputError, match=f"tracking server .*: .*{reason}") as caught:
        store.connect()
    assert time.monotonic() - started < SOON
    assert str(caught.value).isprintable()
    assert "secret" not in str(caught.value)


def test_control_characters_of_a_server_are_not_printed(monkeypatch):
    def answer() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(9999)
            connection.sendall(b"HTTP/1.1 404 No\r\nContent-Length: 9\r\n\r\n\x1b[2J nope")

    with socket.create_server(("127.0.0.1", 0)) as server:
        answering = threading.Thread(target=answer)
        answering.start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(InputError, match="404") as caught:
            store.connect()
        answering.join()
    assert str(caught.value).isprintable()


def test_requests_without_retries(monkeypatch):
    retries, seconds = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"
    monkeypatch.setenv(retries, "3")
    monkeypatch.delenv(seconds, raising=False)
    with store.without_retries(7):
        assert (os.environ[retries], os.environ[seconds]) == ("0", "7")
    assert os.environ[retries] == "3"
    assert seconds not in os.environ


def test_a_reader_makes_no_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"mlflow\.db: no such file"):
        store.connect(create=False)
    assert not list(tmp_path.iterdir())


def test_queued_dvc_experiment_uses_the_store_of_its_project(tmp_path, monkeypatch):
    project, copy = tmp_path / "project", tmp_path / "project/.dvc/tmp/exps/tmp1"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(project))
    with pytest.raises(InputError, match=r"mlflow\.db: no such file"):
        store.connect(create=False)
    (project / "mlflow.db").touch()
    assert store.tracking_uri() == f"sqlite:///{project / 'mlflow.db'}"


def test_experiment_that_another_process_creates_is_used(empty_store, tmp_path, monkeypatch):
    shutil.copy(empty_store, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    look, asked = MlflowClient.get_experiment_by_name, []

    def look_before_it_is_there(client: MlflowClient, name: str):
        asked.append(name)
        return look(client, name) if len(asked) > 1 else None

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", look_before_it_is_there)
    client = store.connect()
    assert client.get_experiment(store.experiment_id(client)).name == "iedit"


def test_experiment_that_cannot_be_created_is_reported(empty_store, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise MlflowException("not allowed", error_code=INTERNAL_ERROR)

    shutil.copy(empty_store, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", lambda *_: None)
    monkeypatch.setattr(MlflowClient, "create_experiment", fail)
    with pytest.raises(InputError, match=r"^tracking server sqlite:.*mlflow\.db: not allowed$"):
        store.connect()


def test_full_disk_is_reported_at_the_first_connection(empty_store, tmp_path, monkeypatch):
    def fail(**_):
        raise MlflowException("(sqlite3.OperationalError) database or disk is full\n[SQL: …]")

    shutil.copy(empty_store, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mlflow, "set_experiment", fail)
    with pytest.raises(NoRoomError, match=r"tracking server sqlite:.*: database or disk is full"):
        store.connect()
