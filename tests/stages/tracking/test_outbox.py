"""Requests to a tracking server that goes away during a training; tests/ops stops a real server."""

import threading

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE, TEMPORARILY_UNAVAILABLE
from requests import ConnectionError as NoConnectionError
from requests import HTTPError, Response

from stages.core.errors import InputError
from stages.tracking import outbox
from stages.tracking.outbox import BesideTraining, Outbox


class Server:
    """Receives numbers unless it is away."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.has: list[int] = []

    def send(self, number: int) -> None:
        if self.failure is not None:
            raise self.failure
        self.has.append(number)


@pytest.fixture
def server(monkeypatch) -> Server:
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: "http://127.0.0.1:5000")
    monkeypatch.setattr(outbox, "RETRY_SECONDS", 0)
    return Server()


def answer(status: int) -> HTTPError:
    response = Response()
    response.status_code = status
    return HTTPError(f"{status}", response=response)


AWAY = [
    MlflowException("API request failed\nat length", error_code=INTERNAL_ERROR),
    MlflowException("503", error_code=TEMPORARILY_UNAVAILABLE),
    NoConnectionError("refused"),
    answer(502),
]


@pytest.mark.parametrize("failure", AWAY)
def test_requests_arrive_in_order_after_an_outage(server, capsys, failure):
    box = Outbox()
    box.put(lambda: server.send(1))
    server.failure = failure
    for number in (2, 3, 4):
        box.put(lambda number=number: server.send(number))
    assert server.has == [1]
    message = "the tracking server is away: http://127.0.0.1:5000; the training continues, and its logs are kept\n"
    assert capsys.readouterr().err == message
    server.failure = None
    box.put(lambda: server.send(5))
    assert server.has == [1, 2, 3, 4, 5]
    assert capsys.readouterr().err == "the tracking server is back and has received them\n"
    box.empty()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("failure", [answer(408), answer(429)])
def test_busy_server_counts_as_away(server, failure):
    box, server.failure = Outbox(), failure
    box.put(lambda: server.send(1))
    server.failure = None
    box.empty()
    assert server.has == [1]


def test_absent_server_is_not_asked_at_every_step(server, monkeypatch):
    monkeypatch.setattr(outbox, "RETRY_SECONDS", 3600)
    box, server.failure, asked = Outbox(), AWAY[0], []

    def send(number: int) -> None:
        asked.append(number)
        server.send(number)

    for number in range(9):
        box.put(lambda number=number: send(number))
    assert asked == [0]


def test_pauses_between_attempts_grow(server, monkeypatch):
    monkeypatch.setattr(outbox, "RETRY_SECONDS", 30)
    box, server.failure, asked = Outbox(), AWAY[0], []

    def send(second: int) -> None:
        asked.append(second)
        server.send(second)

    def put_every_second(seconds: range) -> None:
        for second in seconds:
            monkeypatch.setattr(outbox.time, "monotonic", lambda second=second: second)
            box.put(lambda second=second: send(second))

    put_every_second(range(3000))
    assert asked == [0] * len(asked)  # always the oldest request
    assert len(asked) == 1 + 5 + 3  # after 30, 60, 120, 240, 480 seconds, then every 600
    server.failure = None
    put_every_second(range(3000, 3601))
    assert server.has == list(range(3601))
    server.failure = AWAY[0]
    put_every_second(range(3601, 3650))
    assert asked.count(3601) == 2  # a new outage begins with the short pause


@pytest.mark.parametrize("failure", [MlflowException("no such run", error_code=INVALID_PARAMETER_VALUE), answer(404)])
def test_refused_request_is_raised(server, failure):
    server.failure = failure
    with pytest.raises(type(failure)):
        Outbox().put(lambda: server.send(1))


def test_failure_of_the_own_file_is_raised(server, monkeypatch):
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: "sqlite:///mlflow.db")
    server.failure = AWAY[0]
    with pytest.raises(MlflowException):
        Outbox().put(lambda: server.send(1))


class TestEnd:
    @pytest.fixture(autouse=True)
    def slept(self, server, monkeypatch) -> list[float]:
        slept: list[float] = []
        monkeypatch.setattr(outbox, "RETRY_SECONDS", 30)
        monkeypatch.setattr(outbox.time, "sleep", slept.append)
        return slept

    def test_end_waits_for_the_server(self, server, slept, capsys, monkeypatch):
        box, server.failure = Outbox(), AWAY[0]
        box.put(lambda: server.send(1))

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            server.failure = None if len(slept) == 3 else server.failure

        monkeypatch.setattr(outbox.time, "sleep", sleep)
        box.empty()
        assert (server.has, slept) == ([1], [30, 30, 30])
        assert "waiting for the tracking server" in capsys.readouterr().err

    def test_end_does_not_wait_forever(self, server, slept):
        box, server.failure = Outbox(), AWAY[0]
        box.put(lambda: server.send(1))
        with pytest.raises(InputError, match=r"^the tracking server was not back within 600 seconds; .* sends the rest$"):
            box.empty()
        assert sum(slept) == outbox.WAIT_SECONDS


def test_a_training_does_not_wait_for_what_is_sent(server):
    box, may_send = BesideTraining(), threading.Event()
    box.put(may_send.wait)
    for number in (1, 2):
        box.put(lambda number=number: server.send(number))
    assert server.has == []
    may_send.set()
    box.empty()
    assert server.has == [1, 2]


def test_what_was_refused_is_raised(server):
    def send() -> None:
        box.put(lambda: server.send(1))
        box.settle()

    box, server.failure = BesideTraining(), answer(404)
    with pytest.raises(HTTPError):
        send()
    box.settle()


def test_no_request_is_lost_where_an_earlier_one_failed(server):
    def fail() -> None:
        raise PermissionError

    def send_both() -> None:
        try:
            box.put(fail)
        finally:
            box.put(lambda: server.send(1))
        box.settle()

    box = BesideTraining()
    with pytest.raises(PermissionError):
        send_both()
    box.settle()
    assert server.has == [1]
