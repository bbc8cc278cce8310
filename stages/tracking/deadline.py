"""When a served request is given up: its client has gone, or MLflow's server has stopped waiting for the answer."""

import os
import time
from collections.abc import Callable
from contextvars import ContextVar
from threading import Event

from mlflow.environment_variables import MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT

from stages.core.errors import InputError

IS_SERVED = "_MLFLOW_IS_IN_SERVING_ENVIRONMENT"  # MLflow's server sets it to "true"; its name is private in MLflow's code

GIVEN_UP: ContextVar[Event | None] = ContextVar("given_up", default=None)
"""Set for each request by :mod:`stages.tracking.guard`; without it a model cannot know that its client has gone."""


def deadline() -> Callable[[], None]:
    """Return a function to call again and again while a request is worked on: it raises InputError once it is given up.

    MLflow's server answers 504 after MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT seconds, and would let the work go on.
    """
    event = GIVEN_UP.get()
    is_served = os.environ.get(IS_SERVED) == "true"
    seconds = MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.get()
    start = time.monotonic()

    def check() -> None:
        if event is not None and event.is_set():
            raise InputError("given up: the client has gone, or does not wait any longer")
        if is_served and time.monotonic() > start + seconds:
            raise InputError(f"not done within {seconds} seconds: see {MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.name}")

    return check
