"""The connection to MLflow: the project's own SQLite file, or the server that MLFLOW_TRACKING_URI names."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from stages.run import InputError

EXPERIMENT = "iedit"
DATABASE = Path("mlflow.db")  # in the project's folder, MLflow's own default; artifacts lie in mlruns beside it
TIMEOUT = 4  # seconds for each of connecting and answering
PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


def tracking_uri() -> str:
    """Return MLFLOW_TRACKING_URI, or else the SQLite file in the folder of the project."""
    return os.environ.get("MLFLOW_TRACKING_URI") or _own_uri()


def _own_uri() -> str:
    # Absolute: MLflow keeps one store for each URI it has seen, wherever the process was at the time.
    return f"sqlite:///{DATABASE.absolute()}"


def connect(*, create: bool = True) -> MlflowClient:
    """Return a client whose server has answered; the experiment exists afterwards and is the active one.

    Args:
        create: make the SQLite file where there is none. A reader says False: an empty store has nothing to read.

    Raises:
        InputError: the server does not answer within ten seconds, or is not to be used.
    """
    uri = tracking_uri()
    if not create and uri == _own_uri() and not DATABASE.exists():
        raise InputError(f"{DATABASE}: no such file; run from the folder of the project, or set MLFLOW_TRACKING_URI")
    _reach_database(uri)
    try:
        with _without_retries():
            mlflow.set_tracking_uri(uri)
            mlflow.set_experiment(EXPERIMENT)
    except MlflowException as error:
        message = str(error).strip().splitlines()[0].replace(uri, _shown(uri))
        raise InputError(f"tracking server {_shown(uri)}: {message}") from error
    return MlflowClient()


def experiment_id(client: MlflowClient) -> str:
    """Return the id of the project's experiment, which :func:`connect` has made."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    return str(experiment.experiment_id)


@contextmanager
def _without_retries() -> Iterator[None]:
    """Let the first request fail at once: MLflow repeats one for minutes, and a training that cannot log shall not start."""
    cut = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": str(TIMEOUT)}
    before = {name: os.environ.get(name) for name in cut}
    os.environ.update(cut)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _reach_database(uri: str) -> None:
    """Try the port of a database server: MLflow retries its connection in a way that cannot be cut short."""
    parts = urlsplit(uri)
    port = PORTS.get(parts.scheme.partition("+")[0])
    if port is None or parts.hostname is None:
        return
    try:
        socket.create_connection((parts.hostname, parts.port or port), timeout=TIMEOUT).close()
    except OSError as error:
        raise InputError(f"tracking database {_shown(uri)}: {error}") from error


def _shown(uri: str) -> str:
    """Return the URI without its user and password."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
