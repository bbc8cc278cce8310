"""When a request that is worked on is given up."""

from threading import Event

import pytest
from mlflow.environment_variables import _MLFLOW_IS_IN_SERVING_ENVIRONMENT

from stages.core.errors import InputError
from stages.tracking.deadline import GIVEN_UP, deadline


def test_a_model_that_is_not_served_has_all_the_time(monkeypatch):
    monkeypatch.delenv(_MLFLOW_IS_IN_SERVING_ENVIRONMENT.name, raising=False)
    monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "0")
    deadline()()


def test_the_servers_patience_ends_the_work(monkeypatch):
    monkeypatch.setenv(_MLFLOW_IS_IN_SERVING_ENVIRONMENT.name, "true")
    monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "1")
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    check = deadline()
    check()
    now[0] += 1.5
    with pytest.raises(InputError, match=r"^not done within 1 seconds: see MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT$"):
        check()


def test_a_request_that_is_given_up_ends():
    event = Event()
    token = GIVEN_UP.set(event)
    try:
        check = deadline()
        check()
        event.set()
        with pytest.raises(InputError, match="given up"):
            check()
    finally:
        GIVEN_UP.reset(token)
