"""The connection to MLflow: the project's own SQLite file, or the server that MLFLOW_TRACKING_URI names."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from urllib.parse import urlsplit

import mlflow
import sqlalchemy
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode
from mlflow.store.db.utils import create_sqlalchemy_engine
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

from stages.tracking.errors import is_refused, store_error
from stages.tracking.location import ARTIFACTS, EXPERIMENT, KIND, SHOWS_RUNS, check_store, own_uri, project, tracking_uri
from stages.tracking.moved_store import mend_paths

TIMEOUT = 4  # seconds until the first answer: resolving names, connecting, and a server that sends a byte now and then
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
# An ImportError means that a database's driver is missing.
CONNECTION_ERRORS = (MlflowException, SQLAlchemyError, ImportError, OSError, ValueError)


def connect(*, create: bool = True) -> MlflowClient:
    """Return a client of a store that has answered; the project's own store follows its folder (:mod:`moved_store`).

    Args:
        create: whether to make the SQLite file and the project's experiment if they are missing, and make the experiment
            the active one. Readers of the registry pass False: an empty store has nothing to read, and the registered
            versions outlive an experiment that was deleted.

    Raises:
        InputError: the server does not answer within :data:`TIMEOUT` seconds, or cannot be used.
        NoRoomError: the disk of the SQLite file, or of the server, is full.
    """
    uri = tracking_uri()
    if not create:
        check_store()
    try:
        with without_retries(TIMEOUT):  # a training that cannot log must not start
            _wait_for_answer(uri)
            mlflow.set_tracking_uri(uri)
            if create:
                experiment = ensure_experiment(MlflowClient(), EXPERIMENT)
                mlflow.set_experiment(experiment_id=experiment)
                # Also so that a store with a full disk is found here, and not after minutes of work.
                MlflowClient().set_experiment_tag(experiment, KIND, SHOWS_RUNS)
            if uri == own_uri():
                mend_paths(MlflowClient())
    except CONNECTION_ERRORS as error:
        raise store_error(f"tracking server {uri}{' refuses' if is_refused(error) else ''}", error) from error
    return MlflowClient()


def ensure_experiment(client: MlflowClient, name: str) -> str:
    """Return the id of an experiment, which is created if it is missing and shows its runs first.

    In the project's own store its artifacts lie beside the store; MLflow would put them below the process's current folder.
    """
    location = (project() / ARTIFACTS / name).as_uri() if tracking_uri() == own_uri() else None
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name, artifact_location=location, tags={KIND: SHOWS_RUNS}))
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):  # another process has just created it
                raise
        experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    return str(experiment.experiment_id)


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
