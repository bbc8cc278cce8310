"""The connection to MLflow: the project's own SQLite file, or the server that MLFLOW_TRACKING_URI names."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import mlflow
import sqlalchemy
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode
from mlflow.store.db.utils import create_sqlalchemy_engine
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

from stages.core.errors import InputError
from stages.tracking.errors import is_refused, store_error

EXPERIMENT = "iedit"
DATABASE = Path("mlflow.db")  # in the project's folder, MLflow's own default
ARTIFACTS = Path("mlruns")  # beside it
TIMEOUT = 4  # seconds until the first answer: resolving names, connecting, and a server that sends a byte now and then
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
# An ImportError means that a database's driver is missing.
CONNECTION_ERRORS = (MlflowException, SQLAlchemyError, ImportError, OSError, ValueError)


def tracking_uri() -> str:
    """Return MLFLOW_TRACKING_URI or, without it, the address of the SQLite file in the project's folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or _own_uri()


def _own_uri() -> str:
    # Absolute: MLflow keeps one store per URI, whichever folder the process was in when it saw the URI first.
    return f"sqlite:///{_project() / DATABASE}"


def _project() -> Path:
    """Return the project's folder, also from the copies of it that DVC runs queued experiments in."""
    return Path(os.environ.get("DVC_ROOT", "")).absolute()


def connect(*, create: bool = True) -> MlflowClient:
    """Return a client of a store that has answered. The project's experiment exists afterwards and is the active one.

    Args:
        create: whether to make the SQLite file if it is missing. Readers pass False: an empty store has nothing to read.

    Raises:
        InputError: the server does not answer within :data:`TIMEOUT` seconds, or cannot be used.
        NoRoomError: the disk of the SQLite file is full.
    """
    uri = tracking_uri()
    if not create and uri == _own_uri() and not (_project() / DATABASE).exists():
        raise InputError(f"{DATABASE}: no such file; run from the folder of the project, or set MLFLOW_TRACKING_URI")
    try:
        with without_retries(TIMEOUT):  # a training that cannot log must not start
            _wait_for_answer(uri)
            mlflow.set_tracking_uri(uri)
            if uri == _own_uri() and mlflow.get_experiment_by_name(EXPERIMENT) is None:
                _create_experiment()
            mlflow.set_experiment(EXPERIMENT)
    except CONNECTION_ERRORS as error:
        raise store_error(f"tracking server {uri}{' refuses' if is_refused(error) else ''}", error) from error
    return MlflowClient()


def _create_experiment() -> None:
    """Create the experiment of the project's own store with its artifacts beside the store.

    MLflow would put them below the current folder of the process.
    """
    try:
        mlflow.create_experiment(EXPERIMENT, artifact_location=(_project() / ARTIFACTS / EXPERIMENT).as_uri())
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):  # another process has just created it
            raise


def experiment_id(client: MlflowClient) -> str:
    """Return the id of the project's experiment; :func:`connect` has created it."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    return str(experiment.experiment_id)


@contextmanager
def without_retries(timeout: int) -> Iterator[None]:
    """Let requests within the block fail for good after ``timeout`` seconds; MLflow would retry for minutes."""
    limits = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": str(timeout)}
    before = {name: os.environ.get(name) for name in limits}
    os.environ.update(limits)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _wait_for_answer(uri: str) -> None:
    """Send the store one small request, and raise the error that it ends with.

    A database is asked without MLflow, which would try to connect for minutes and has no setting against that.

    Raises:
        TimeoutError: there is no answer in time, for whatever reason.
    """
    failures: list[Exception] = []

    def ask() -> None:
        try:
            if urlsplit(uri).scheme.partition("+")[0] in DATABASES:
                engine = create_sqlalchemy_engine(uri)
                sqlalchemy.inspect(engine).get_table_names()
                engine.dispose()
            else:
                MlflowClient(uri).search_experiments(max_results=1)
        except CONNECTION_ERRORS as error:
            failures.append(error)

    asking = Thread(target=ask, daemon=True)  # a daemon does not keep the process alive
    asking.start()
    asking.join(TIMEOUT)
    if asking.is_alive():
        raise TimeoutError(f"no answer within {TIMEOUT} seconds")
    if failures:
        raise failures[0]
