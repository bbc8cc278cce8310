"""What MLflow says when its store fails, in one line."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.exceptions import MlflowException
from requests import RequestException

from stages.core.errors import InputError, first_line
from stages.core.files import NoRoomError, lack_of_room

FAILURES = (MlflowException, RequestException)  # the second: of artifacts, which go through a server
CREDENTIALS = re.compile(r"(?<=://)[^/\s]*@|(?<=[?&]password=)[^&\s]+")
BUSY = (408, 429)  # of HTTP: as for 500 and above, the same request may be answered later

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
    except FAILURES as error:
        raise store_error("tracking store refuses" if is_refused(error) else "tracking store", error) from error


def is_refused(error: Exception) -> bool:
    """Tell whether a server has answered that it will not do this, now or later."""
    if isinstance(error, MlflowException):
        status = error.get_http_status_code()
    else:
        status = getattr(getattr(error, "response", None), "status_code", 0)
    return 400 <= status < 500 and status not in BUSY


def store_error(store: str, said: object) -> InputError | NoRoomError:
    """Return the error to raise for a store that failed: its name, and the first line of what it said."""
    reason = lack_of_room(said)
    told = without_credentials(f"{store}: {first_line(said) if reason is None else reason}")
    return InputError(told) if reason is None else NoRoomError(told)


def without_credentials(text: str) -> str:
    """Return a text whose addresses lack their users and passwords."""
    return CREDENTIALS.sub("", text)
