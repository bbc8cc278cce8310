"""Errors of the tracking store, each reported in one line."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.exceptions import MlflowException
from requests import RequestException

from stages.core.errors import InputError, first_line
from stages.core.files import NoRoomError, lack_of_room
from stages.tracking.full_server import full_server

STORE_ERRORS = (MlflowException, RequestException)  # artifacts go through a server with plain requests
CREDENTIALS = re.compile(r"(?<=://)[^/\s]*@|(?<=[?&]password=)[^&\s]+")
BUSY = (408, 429)  # HTTP: as with 500 and above, the same request may succeed later

logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it logs tracebacks of errors that we report in a line


@contextmanager
def store_errors_in_one_line() -> Iterator[None]:
    """Turn an error of the store within the block, such as a server that went away, into one line.

    Raises:
        NoRoomError: the disk of the SQLite file, or of the server, is full.
        InputError: any other error of the store.
    """
    try:
        yield
    except STORE_ERRORS as error:
        raise store_error("tracking store refuses" if is_refused(error) else "tracking store", error) from error


def is_refused(error: Exception) -> bool:
    """Return whether a server rejected the request for good."""
    if isinstance(error, MlflowException):
        status = error.get_http_status_code()
    else:
        status = getattr(getattr(error, "response", None), "status_code", 0)
    return 400 <= status < 500 and status not in BUSY


def store_error(store: str, cause: object) -> InputError | NoRoomError:
    """Return the error to raise when a store fails: the store's name and the first line of the cause."""
    reason = lack_of_room(cause) or full_server(cause)
    message = without_credentials(f"{store}: {first_line(cause) if reason is None else reason}")
    return InputError(message) if reason is None else NoRoomError(message)


def without_credentials(text: str) -> str:
    """Remove users and passwords from the addresses in a text."""
    return CREDENTIALS.sub("", text)
