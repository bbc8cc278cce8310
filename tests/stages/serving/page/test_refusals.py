"""Requests that the page does not send: no answer is a server's error, none has a trace, a path or a version."""

import json
import os
import random
import time
from collections import Counter

import gradio as gr
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from stages.serving.admission import Admission, Limits
from stages.serving.folder import UPLOADS
from stages.serving.models import Models
from stages.serving.page import room
from stages.serving.page.page import mount_page
from stages.serving.page.room import sweep
from stages.serving.service import Service
from tests.support import ROOT
from tests.support.serving import FREE, Shelf, png

ROUTES = (
    *("run/edit", "queue/join", "queue/status", "api/predict", "call/edit", "call/v2/edit", "component_server", "cancel"),
    *("reset", "upload", "process_recording", "vibe-edit", "vibe-code", "stream/a", "dev/reload", "info", "runs", "deep_link"),
    *("openapi.json", "startup-events", "upload_progress", "file=/etc/passwd", "proxy=http://127.0.0.1:1/", "..%2f"),
)
LONG = "a" * 3000
PATHS = (
    *(f"/gradio_api/{route}" for route in ROUTES),
    *("/openapi.json", "/monitoring", "/login", "/svelte/a.js", "/static/../a", "/assets/%00", "/%ff"),
    *(f"/static/{LONG}", f"/gradio_api/file=/{LONG}"),
)
FIELDS = ("fn_index", "data", "session_hash", "event_data", "event_data", "trigger_id", "batched", "simple_format", "other")
ODD = (None, True, -1, 0, 1, 2**70, 0.5, "", "\0", "../a", "a" * 5000, [], {}, [[]], {"index": 99}, {"mended": True}, ["a", 5])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of the service."""
    return tmp_path_factory.mktemp("service")


def serve(folder, limits: Limits) -> TestClient:
    app = FastAPI()
    mount_page(app, Service(Models(Shelf(folder), folder), Admission(limits)), folder)
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture(scope="module")
def client(folder):
    """A client of the page, whose service has no model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder / UPLOADS))
        with serve(folder, FREE) as client:
            yield client


def functions_of(client: TestClient) -> list[dict]:
    return client.get("/config").json()["dependencies"]


def call_of(chance: random.Random, function: dict) -> object:
    """A call of one of the page's functions with odd values."""
    values = [chance.choice(ODD) for _ in range(len(function["inputs"]))]
    call = {"fn_index": function["id"], "data": values, "session_hash": chance.choice("ab")}
    for _ in range(chance.choice((0, 0, 1, 2))):
        call[chance.choice(FIELDS)] = chance.choice(ODD)
    return chance.choice((call, call, call, call, call, chance.choice(ODD)))


def test_no_hostile_request_breaks_the_page(client, folder):
    chance, statuses, functions = random.Random(0), Counter(), functions_of(client)
    for _ in range(500):
        call = json.dumps(call_of(chance, chance.choice(functions)))
        if chance.randrange(3):
            method, path, content = "POST", "/gradio_api/run/predict", call
        else:
            method, path = chance.choice(("GET", "PUT", "POST", "POST", "OPTIONS")), chance.choice(PATHS)
            content = chance.choice((call, call, chance.randbytes(20)))
        answer = client.request(method, path, content=content, headers={"content-type": "application/json"})
        statuses[answer.status_code] += 1
        assert answer.status_code < 500, (path, content, answer.text)
        for secret in ("Traceback", str(folder), str(ROOT), gr.__version__):
            assert secret not in answer.text, (path, secret)
    assert min(statuses[200], statuses[404], statuses[422]) > 20


def test_functions_are_called_with_their_values_only(client):
    for each in functions_of(client):
        if not each["backend_fn"]:
            continue
        call = {"fn_index": each["id"], "data": [None] * (len(each["inputs"]) + 1), "session_hash": "a"}
        answer = client.post("/gradio_api/run/predict", json=call)
        assert (answer.status_code, answer.json()["detail"].startswith("the function takes")) == (422, True)


@pytest.mark.parametrize("path", ["/", "/config"])
def test_the_page_names_no_version_and_no_path(client, folder, path):
    text = client.get(path).text
    assert gr.__version__ not in text
    assert str(folder) not in text
    assert str(ROOT) not in text


def test_uploads_need_room(client, folder, monkeypatch):
    monkeypatch.setattr(room, "MAX_FOLDER", 5000)
    files = {"files": ("photo.png", png())}
    assert client.post("/gradio_api/upload", files=files).status_code == 200
    with (folder / UPLOADS / "large").open("wb") as file:
        file.truncate(5000)
    answer = client.post("/gradio_api/upload", files=files)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
    (folder / UPLOADS / "large").unlink()
    assert client.post("/gradio_api/upload", files=files).status_code == 200


def test_uploads_count_for_their_client(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / UPLOADS))
    client = serve(tmp_path, Limits(per_minute=2))
    answers = [client.post("/gradio_api/upload", files={"files": ("photo.png", png())}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]


def test_old_files_are_removed_whatever_their_contents_say(tmp_path, monkeypatch):
    for name in ("old/photo.png", "new/photo.png", "empty/photo.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(png())
        os.utime(tmp_path / name, (0, 0))  # as a copy of an old file has it
    (tmp_path / "empty/photo.png").unlink()
    sweep(tmp_path, 3600)
    assert len(list(tmp_path.iterdir())) == 3
    time.sleep(0.1)
    middle = time.time()
    time.sleep(0.1)
    (tmp_path / "new/photo.png").touch()
    monkeypatch.setattr(room.time, "time", lambda: middle + 3600)
    sweep(tmp_path, 3600)
    assert [each.name for each in tmp_path.iterdir()] == ["new"]


@pytest.mark.parametrize("part", ["0-1-2", "9-1", "-", "-5", "1-", "0-1,3-4", "99999-", "9" * 5000 + "-", "\u00b2-\u00b3"])
def test_no_range_breaks_the_page(client, part):
    (path,) = client.post("/gradio_api/upload", files={"files": ("photo.png", png())}).json()
    answer = client.get(f"/gradio_api/file={path}", headers={"range": f"bytes={part}".encode("latin-1")})
    assert answer.status_code in (200, 206, 400, 416), answer.text


def test_calls_of_the_page_count_a_tenth(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / UPLOADS))
    client = serve(tmp_path, Limits(per_minute=1))
    statuses = [client.post("/gradio_api/run/predict", json={}).status_code for _ in range(12)]
    assert (statuses[:10], statuses[-1]) == ([422] * 10, 429)
