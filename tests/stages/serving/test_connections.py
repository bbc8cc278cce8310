"""Connections whose request does not begin, clients with too many of them, and too many in all."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest
from fastapi import FastAPI, Request

from stages.serving import connections
from stages.serving.admission import Admission
from stages.serving.connections import ConnectionLimit
from stages.serving.server import Server, configure
from tests.support.serving import wait_until

PATIENCE = 300  # seconds
BEGINNING, END = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ", b"y\r\n\r\n"


@pytest.fixture
def proxies(request, monkeypatch) -> None:
    """The addresses of trusted proxies: none, unless a test has others."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", getattr(request, "param", ""))


@pytest.fixture
def listening(proxies) -> Iterator[Server]:
    """A server that answers whether the clock of the asking connection runs."""
    app = FastAPI()
    app.add_middleware(ConnectionLimit)
    server = Server(configure(app, "127.0.0.1", 0), Admission())

    @app.get("/")
    async def is_timed(request: Request) -> bool:
        (own,) = (each for each in server.server_state.connections if each.client == tuple(request.client))
        return own._clock is not None

    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    yield server
    server.should_exit = True
    thread.join()


@pytest.fixture
def connect(listening) -> Iterator[Callable[[], socket.socket]]:
    """Connect to the server."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(socket.create_connection(listening.servers[0].sockets[0].getsockname(), PATIENCE))


def is_cut_off(client: socket.socket) -> bool:
    """Whether there is an end instead of an answer."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def test_half_a_head_is_not_waited_for(connect, monkeypatch):
    monkeypatch.setattr(connections, "HEAD", 0.5)
    client = connect()
    client.sendall(BEGINNING)
    assert is_cut_off(client)


def test_the_clock_stops_when_the_head_has_come(connect):
    client = connect()
    for _ in range(2):
        client.sendall(BEGINNING)
        client.sendall(END)
        answer = b""
        while not answer.endswith(b"false"):
            part = client.recv(1000)
            assert part, answer
            answer += part


@pytest.mark.parametrize("proxies", ["", "10.9.9.9"], indirect=True)
def test_a_client_does_not_take_every_connection(connect, monkeypatch):
    monkeypatch.setattr(connections, "MAX_OF_CLIENT", 2)
    kept = [connect() for _ in range(2)]
    assert is_cut_off(connect())
    for client in kept:
        client.sendall(BEGINNING + END)
        assert not is_cut_off(client)


@pytest.mark.parametrize("proxies", ["10.9.9.9, 127.0.0.1"], indirect=True)
def test_a_trusted_proxy_connects_for_many_clients(connect, monkeypatch):
    monkeypatch.setattr(connections, "MAX_OF_CLIENT", 2)
    for client in [connect() for _ in range(4)]:
        client.sendall(BEGINNING + END)
        assert not is_cut_off(client)


def test_beyond_all_connections_the_answer_says_when_to_come_back(connect, listening, monkeypatch):
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 2)
    kept = [connect() for _ in range(2)]
    wait_until(lambda: len(listening.server_state.connections) == 2)
    host, port = listening.servers[0].sockets[0].getsockname()
    refused = httpx.get(f"http://{host}:{port}/", timeout=PATIENCE, trust_env=False)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "service_unavailable")
    assert int(refused.headers["retry-after"]) > 0
    assert (refused.headers["connection"], refused.headers["x-frame-options"]) == ("close", "DENY")
    for client in kept:
        client.sendall(BEGINNING + END)
        assert client.recv(len(b"HTTP/1.1 200")) == b"HTTP/1.1 200"
