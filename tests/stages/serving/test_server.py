"""What a server leaves on disk beside its own folder, whom it trusts, and whom it does not wait for."""

import os
import socket
import subprocess
import sys
import tempfile
import threading

import pytest
from fastapi import FastAPI, Response

from stages.core.errors import InputError
from stages.serving import server
from stages.serving.admission import Admission
from stages.serving.security import Access
from stages.serving.server import Server, configure
from tests.support import ROOT
from tests.support.serving import wait_until

STARTED = """
import os, tempfile
from pathlib import Path
from stages.serving import server
from stages.serving.security import Access
server.Server.run = lambda _: print([name[:12] for name in os.listdir(tempfile.gettempdir())])
server.serve("nano/models/diffusion", Access("127.0.0.1"), 0, server.Limits())
print(os.listdir(tempfile.gettempdir()))
"""


def test_no_folder_of_other_programs_is_used():
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": folder}
        environment.pop("GRADIO_TEMP_DIR", None)
        command = [sys.executable, "-c", STARTED]
        said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.splitlines() == ["['iedit-serve-']", "[]"]


def test_a_port_that_is_taken_is_reported_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"^cannot listen on 127.0.0.1, port {port}: Address already in use$"):
            server.serve("nano/models/diffusion", Access("127.0.0.1"), port, server.Limits())


@pytest.mark.parametrize("proxies", ["*", "10.0.0.1,*", "0.0.0.0/0", "10.0.0.1, ::/0"])
def test_not_every_client_may_name_itself(monkeypatch, proxies):
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", proxies)
    with pytest.raises(InputError, match="FORWARDED_ALLOW_IPS"):
        configure(FastAPI(), "127.0.0.1", 0)


def test_a_connection_that_takes_nothing_is_broken_off(monkeypatch):
    monkeypatch.setattr(server, "SILENCE", 0.5)
    app = FastAPI()

    @app.get("/")
    async def large() -> Response:
        return Response(bytes(20_000_000))  # more than the system's buffers hold

    listening = Server(configure(app, "127.0.0.1", 0), Admission())
    thread = threading.Thread(target=listening.run)
    thread.start()
    try:
        wait_until(lambda: listening.started)
        with socket.create_connection(listening.servers[0].sockets[0].getsockname()) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            wait_until(lambda: listening.server_state.total_requests == 1)
            wait_until(lambda: not listening.server_state.connections)
    finally:
        listening.should_exit = True
        thread.join()
