"""What MLflow says when its store fails, in one line."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.exceptions import MlflowException

from stages.errors import InputError
from stages.files import NoRoomError

SQLITE_FULL = "database or disk is full"
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it shows the traceback of what is told in a line


@contextmanager
def failures_told() -> Iterator[None]:
    """Tell in one line that the store failed within the block: a server that went away, a full disk.

    Raises:
        NoRoomError: the disk of the SQLite file is full.
        InputError: anything else.
    """
    try:
        yield
    except MlflowException as error:
        message = str(error).strip().splitlines()[0]
        if SQLITE_FULL in message:
            raise NoRoomError(f"tracking store: {message}") from error
        raise InputError(f"tracking store: {message}") from error
