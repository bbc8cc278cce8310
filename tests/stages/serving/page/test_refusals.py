"""Requests that the page does not send: no answer is a server's error, none has a trace, a path or a version."""

import errno
import json
import os
import random
import time
from collections import Counter
from pathlib import Path

import gradio as gr
import pytest
from fastapi.testclient import TestClient

from stages.common.only_uploads import OnlyUploads
from stages.serving.admission import Admission, Limits
from stages.serving.app import make_app
from stages.serving.folder import UPLOADS
from stages.serving.models import Models
from stages.serving.page import receiving, room, session
from stages.serving.page.page import mount_page
from stages.serving.page.room import sweep
from stages.serving.security import Access
from stages.serving.service import Service
from tests.support import ROOT
from tests.support.serving import FREE, Shelf, png

ROUTES = (
    *(
        "run/edit",
        "queue/join",
        "queue/data",
        "queue/status",
        "api/predict",
        "call/edit",
        "call/v2/edit",
        "component_server",
        "cancel",
    ),
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
    service = Service(Models(Shelf(folder), folder), Admission(limits))
    app = make_app(service, Access("127.0.0.1"))
    mount_page(app, service, folder)
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


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


def test_a_call_of_very_many_values_is_not_parsed(client):
    json_type = {"content-type": "application/json"}
    assert client.post("/gradio_api/run/predict", content=b"[],," * 10_000, headers=json_type).status_code == 413


@pytest.mark.parametrize(("session", "is_one"), [("a1_B-2", True), ("a" * 64, True), ("a" * 65, False), ("a b", False)])
def test_sessions_have_short_plain_names(client, session, is_one):
    function = next(each for each in functions_of(client) if len(each["inputs"]) == 2 and len(each["outputs"]) == 1)
    call = {"fn_index": function["id"], "data": ["a dog", None], "session_hash": session}
    assert client.post("/gradio_api/run/predict", json=call).status_code == (200 if is_one else 422)
    if not is_one:
        assert client.get("/gradio_api/queue/data", params={"session_hash": session}).status_code == 422
        assert client.get(f"/gradio_api/heartbeat/{session}").status_code == 404


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


@pytest.mark.usefixtures("stopped_clock")
def test_uploads_count_for_their_client(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / UPLOADS))
    client = serve(tmp_path, Limits(per_minute=2))
    answers = [client.post("/gradio_api/upload", files={"files": ("photo.png", png())}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]


@pytest.mark.parametrize(
    "upload",
    [
        {"files": {"other": ("photo.png", b"a")}},
        {"files": {"files": (None, "a text")}},
        {"files": [("files", ("a.png", b"a")), ("files", ("b.png", b"b"))]},
        {"data": {"files": "a"}},
        {"content": b"--b", "headers": {"content-type": "multipart/form-data; boundary=b"}},
        {"content": b"--b\r\nx", "headers": {"content-type": "multipart/form-data"}},
        {"json": {"files": "a"}},
        {
            "content": b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\na\r\n--b--\r\n',
            "headers": {"content-type": "multipart/form-data; boundary=b; charset=undefined"},
        },
    ],
)
def test_one_file_is_taken_and_nothing_else(client, folder, upload):
    before = sorted((folder / UPLOADS).iterdir())
    answer = client.post("/gradio_api/upload", **upload)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")
    assert sorted((folder / UPLOADS).iterdir()) == before


def test_a_file_that_is_too_large_is_refused(client, folder, monkeypatch):
    monkeypatch.setattr(receiving, "MAX_BYTES", 10)
    before = sorted((folder / UPLOADS).iterdir())
    assert client.post("/gradio_api/upload", files={"files": ("photo.png", png())}).status_code == 413
    assert sorted((folder / UPLOADS).iterdir()) == before


@pytest.mark.parametrize("name", ["..", ".", "../../a.png", "a" * 3000, "\u00e9" * 300, "/", " "])
def test_the_name_of_an_upload_is_a_plain_one(client, folder, name):
    (path,) = client.post("/gradio_api/upload", files={"files": (name, png())}).json()
    assert Path(path).parent.parent == folder / UPLOADS
    assert Path(path).read_bytes() == png()


def test_uploads_are_followed_without_a_trace(client):
    assert client.get("/gradio_api/upload_progress", params={"upload_id": "a" * 5000}).status_code == 204


def call_of_upload(client: TestClient, path: str) -> dict[int, object]:
    """Open an uploaded picture, and return what changes: component → value."""
    shown = client.get("/config").json()
    upload = next(each["id"] for each in shown["components"] if each["props"].get("elem_id") == "upload")
    function = next(each for each in shown["dependencies"] if [upload, "change"] in each["targets"])
    values = [{"path": path, "meta": {"_type": "gradio.FileData"}} if each == upload else None for each in function["inputs"]]
    call = {"fn_index": function["id"], "data": values, "session_hash": "a"}
    answer = client.post("/gradio_api/run/predict", json=call)
    assert answer.status_code == 200, answer.text
    return dict(zip(function["outputs"], answer.json()["data"], strict=True))


def test_a_picture_is_opened_where_there_is_room(client, folder, monkeypatch):
    (path,) = client.post("/gradio_api/upload", files={"files": ("photo.png", png())}).json()
    assert "data:image/webp" in str(call_of_upload(client, path))
    sessions = folder / "sessions"
    before = sorted(sessions.rglob("*"))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(session.Path, "write_bytes", full)
        assert "No space left on device; try again in 60 s" in str(call_of_upload(client, path))
    monkeypatch.setattr(room, "MAX_FOLDER", 0)
    assert "too many pictures" in str(call_of_upload(client, path))
    assert not [each for each in sessions.rglob("*") if each.is_file() and each not in before]


def test_an_upload_that_is_removed_meanwhile_is_missed(client, folder, monkeypatch):
    monkeypatch.setattr(OnlyUploads, "_is_upload", lambda *_: True)  # it was there when this looked
    assert "The upload is gone" in str(call_of_upload(client, str(folder / UPLOADS / "photo.png")))


def test_long_prompts_are_not_split_into_words(client):
    function = next(each for each in functions_of(client) if len(each["inputs"]) == 2 and len(each["outputs"]) == 1)
    call = {"fn_index": function["id"], "data": ["word " * 2000 + "last", "last"], "session_hash": "a"}
    assert "last" not in client.post("/gradio_api/run/predict", json=call).text


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


@pytest.mark.parametrize("origin", ["http://[", "http://a]", "null", "", "http://127.0.0.1.example"])
def test_what_is_no_origin_is_foreign(client, origin):
    assert client.get("/", headers={"origin": origin}).status_code == 403


@pytest.mark.usefixtures("stopped_clock")
def test_calls_of_the_page_count_a_tenth(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / UPLOADS))
    client = serve(tmp_path, Limits(per_minute=1))
    statuses = [client.post("/gradio_api/run/predict", json={}).status_code for _ in range(12)]
    assert (statuses[:10], statuses[-1]) == ([422] * 10, 429)
