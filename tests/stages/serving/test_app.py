"""The application as a server: health, limits of bodies, MLflow's form, errors without traces, and the end."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from stages.serving import bodies, connections, folder, server
from stages.serving.admission import Admission, Limits
from stages.serving.app import make_app
from stages.serving.models import Models
from stages.serving.security import Access
from stages.serving.service import Service
from stages.studies.served import address_of
from tests.support import ROOT
from tests.support.harness import PATIENCE
from tests.support.serving import FREE, png, served, wait_until

FORM = {"files": {"image": png()}, "data": {"prompt": "a dog"}}


def edit(address: str, prompt: str = "a dog", **options: object) -> httpx.Response:
    """Send an edit."""
    fields = {"prompt": prompt, "term": "dog"}
    return httpx.post(f"{address}/v1/images/edits", files={"image": png()}, data=fields, timeout=PATIENCE, **options)


@pytest.fixture
def app(shelf, tmp_path):
    """An application whose models are not started."""
    return make_app(Service(Models(shelf, tmp_path), Admission(FREE)), Access("127.0.0.1"))


@pytest.fixture
def idle(app):
    """A client of an application whose models are not started."""
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


def test_health_and_readiness(address, idle):
    assert httpx.get(f"{address}/health", timeout=PATIENCE).json() == {"status": "alive"}
    assert httpx.get(f"{address}/ready", timeout=PATIENCE).json() == {"status": "ready"}
    assert idle.get("/health").status_code == 200
    assert (idle.get("/ready").status_code, idle.get("/ready").json()) == (503, {"status": "loading"})


def test_beyond_all_connections_health_is_answered_and_refusals_count(address, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(connections, "MAX_CONNECTIONS", 0)
        answers = [httpx.get(address + path, timeout=PATIENCE) for path in ("/health", "/ready", "/v1/models")]
    assert [answer.status_code for answer in answers] == [200, 200, 503]
    assert {(answer.headers["connection"], answer.headers["x-frame-options"]) for answer in answers} == {("close", "DENY")}
    numbers = httpx.get(f"{address}/metrics", timeout=PATIENCE).text
    assert 'iedit_http_requests_total{route="/v1/models",status="503"} 1.0' in numbers


def test_while_no_model_is_loaded_edits_are_503(idle):
    answer = idle.post("/v1/images/edits", **FORM)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_unavailable")
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json"])
def test_no_page_loads_scripts_from_elsewhere(idle, path):
    assert idle.get(path).status_code == 404


def test_an_unknown_error_is_one_line(app, idle):
    @app.get("/broken")
    async def broken() -> None:
        raise OSError(2, "No such file", "/a/path")

    answer = idle.get("/broken")
    assert answer.status_code == 500
    assert answer.json()["error"]["message"] == "the request failed; see the log"
    assert "/a/path" not in answer.text


def test_beyond_the_bound_clients_are_told_when_to_return(shelf, tmp_path):
    with served(Models(shelf, tmp_path), Limits(requests=2, per_minute=0)) as address, ThreadPoolExecutor() as pool:
        held = [pool.submit(edit, address, "held") for _ in range(2)]
        wait_until(lambda: shelf.notes("one") == ["began", "began"])
        answers = [edit(address) for _ in range(4)]
        shelf.release("one")
    assert [answer.status_code for answer in answers] == [429] * 4
    assert [each.result().status_code for each in held] == [200, 200]
    refused = answers[0]
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert int(refused.headers["retry-after"]) >= 1


@pytest.mark.usefixtures("stopped_clock")
def test_one_client_may_send_so_many_requests_a_minute(shelf, tmp_path):
    with served(Models(shelf, tmp_path), Limits(per_minute=3)) as address:
        assert httpx.post(f"{address}/v1/images/edits", timeout=PATIENCE).status_code == 400  # what is refused counts too
        assert httpx.post(f"{address}/invocations", json={}, timeout=PATIENCE).status_code == 200
        assert [edit(address).status_code for _ in range(2)] == [200, 429]


@pytest.mark.parametrize(("proxies", "statuses"), [("127.0.0.1", [200, 200]), ("10.0.0.1", [200, 429]), ("", [200, 429])])
@pytest.mark.usefixtures("stopped_clock")
def test_clients_behind_a_trusted_proxy_are_told_apart(shelf, tmp_path, monkeypatch, proxies, statuses):
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", proxies)
    with served(Models(shelf, tmp_path), Limits(per_minute=1)) as address:
        assert [edit(address, headers={"x-forwarded-for": f"10.0.0.{number}"}).status_code for number in (2, 3)] == statuses


def test_a_late_edit_is_504(shelf, tmp_path):
    with served(Models(shelf, tmp_path), Limits(per_minute=0, seconds=0.5)) as address:
        answer = edit(address, "endless")
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")


def test_a_body_is_bounded_by_its_header(idle, monkeypatch):
    monkeypatch.setattr(bodies, "MAX_BODY", 100)
    answer = idle.post("/v1/images/edits", **FORM)
    assert (answer.status_code, answer.json()["error"]["message"]) == (413, "the request is larger than 100 bytes")
    assert idle.post("/v1/images/edits", headers={"content-length": "-1"}).status_code in (400, 413)


def test_a_body_without_a_length_is_bounded_as_it_comes(idle, monkeypatch):
    monkeypatch.setattr(bodies, "MAX_BODY", 100)
    headers = {"content-type": "multipart/form-data; boundary=b"}
    assert idle.post("/v1/images/edits", content=iter([b"x" * 60] * 5), headers=headers).status_code == 413
    assert idle.post("/invocations", content=iter([b"x" * 60] * 5)).json()["error_code"] == "REQUEST_ENTITY_TOO_LARGE"


def test_all_bodies_together_are_bounded(idle, monkeypatch):
    monkeypatch.setattr(bodies, "MAX_BODIES", 100)
    answer = idle.post("/v1/images/edits", **FORM)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_a_body_that_takes_too_long_is_not_waited_for(address, monkeypatch):
    monkeypatch.setattr(bodies, "PATIENCE", 0.5)
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(
            b"POST /v1/images/edits HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
        )
        while not select.select([connection], [], [], 0.1)[0]:
            connection.sendall(b"x")  # it trickles in
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")


def test_mlflows_form_is_passed_to_the_model(address):
    answer = httpx.post(f"{address}/invocations", json={"dataframe_records": []}, timeout=PATIENCE)
    assert (answer.status_code, answer.json()) == (200, {"dataframe_records": []})
    assert httpx.post(f"{address}/invocations", json={"wrong": 1}, timeout=PATIENCE).status_code == 400
    assert sorted(httpx.get(f"{address}/invocations", timeout=PATIENCE).json()) == ["error_code", "message"]


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files of the test's own servers; its path is short, as sockets need it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def command(shelf, temporary):
    """Start a server of the stand-in as a process of its own: its address, and the process."""
    started = []

    def start() -> tuple[str, subprocess.Popen[str]]:
        code = (
            "import sys; from pathlib import Path; from stages.serving import catalogue, server;"
            "from stages.serving.admission import Limits; from stages.serving.security import Access;"
            "folder = Path(sys.argv[1]); catalogue.OWN_CODE = folder / 'code';"
            "server.serve(str(folder), Access('127.0.0.1'), 0, Limits(per_minute=0))"
        )
        environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(shelf.folder / "one")],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            cwd=shelf.folder,
        )
        started.append(process)
        address = address_of(process)
        wait_until(lambda: is_ready(address))
        return address, process

    yield start
    for process in started:
        process.kill()
        process.wait()


def is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/ready", timeout=PATIENCE).is_success
    except httpx.TransportError:
        return False


def children_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_signal_lets_what_runs_finish_and_nothing_else_begin(command, temporary, shelf):
    address, process = command()
    (child,) = children_of(process.pid)
    answers = []
    sender = threading.Thread(target=lambda: answers.append(edit(address, "held")))
    sender.start()
    wait_until(lambda: shelf.notes("one") == ["began"])
    process.send_signal(signal.SIGTERM)
    wait_until(lambda: not is_ready(address))
    assert edit(address).status_code == 503
    shelf.release("one")
    sender.join()
    assert process.wait(60) == 0
    assert [answer.status_code for answer in answers] == [200]
    assert not is_running(child)
    assert list(temporary.glob(f"{folder.PREFIX}*")) == []


def test_the_end_waits_for_answers_on_their_way(shelf, tmp_path, monkeypatch):
    monkeypatch.setattr(server, "CLOSING", 0)
    noise = Image.fromarray(np.random.default_rng(0).integers(256, size=(1500, 2000, 3), dtype=np.uint8))
    begun, contents = threading.Event(), []

    def read() -> None:
        """Read the answer late; it is larger than what sockets hold."""
        form = {"files": {"image": png(noise)}, "data": {"prompt": "a dog"}, "timeout": PATIENCE}
        with httpx.stream("POST", f"{address}/v1/images/edits", **form) as answer:
            begun.set()
            time.sleep(1)
            contents.append(json.loads(answer.read()))

    with served(Models(shelf, tmp_path)) as address:
        reader = threading.Thread(target=read)
        reader.start()
        begun.wait()
    reader.join()
    assert len(contents[0]["data"]) == 1


def test_after_a_kill_nothing_is_left_behind(command, temporary):
    _, process = command()
    children = children_of(process.pid)
    assert len(children) == 1
    (mine,) = temporary.glob(f"{folder.PREFIX}*")
    process.kill()
    process.wait()
    wait_until(lambda: not any(map(is_running, children)))
    address, _ = command()
    assert not mine.exists()
    assert edit(address).status_code == 200
