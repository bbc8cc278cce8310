"""When a request that is worked on is given up."""

from threading import Event
from types import SimpleNamespace

import pytest
from mlflow.pyfunc import scoring_server

from stages.core.errors import InputError
from stages.tracking.deadline import GIVEN_UP, IS_SERVED, deadline


def test_a_model_that_is_not_served_has_all_the_time(monkeypatch):
    monkeypatch.delenv(IS_SERVED, raising=False)
    monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "0")
    deadline()()


def test_the_servers_patience_ends_the_work(monkeypatch):
    monkeypatch.setenv(IS_SERVED, "true")
    monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "1")
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    check = deadline()
    check()
    now[0] += 1.5
    with pytest.raises(InputError, match=r"^not done within 1 seconds: see MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT$"):
        check()


def test_the_server_says_that_it_serves(monkeypatch):
    """MLflow's scoring server sets the variable, whose name is private, by itself."""
    monkeypatch.setenv(IS_SERVED, "false")
    scoring_server.init(SimpleNamespace(metadata=SimpleNamespace(get_input_schema=lambda: None)))
    monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "-1")
    with pytest.raises(InputError, match=r"^not done within -1 seconds"):
        deadline()()


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
