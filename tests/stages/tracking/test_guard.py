"""MLflow's scoring server behind the guard: mistakes in one line, and requests that are given up."""

import asyncio
import json
import logging
import threading
from typing import Any

import mlflow
import pytest
from fastapi.testclient import TestClient
from mlflow.pyfunc import scoring_server

from stages.core.errors import InputError
from stages.editing.editor import Editor
from stages.editing.pictures import encode_picture
from stages.tracking import guard, store
from stages.tracking.deadline import GIVEN_UP, IS_SERVED
from stages.tracking.guard import Guard
from tests.support.registered import EXAMPLE

JSON = {"content-type": "application/json"}
ROW = {"image": encode_picture(EXAMPLE.image), "prompt": "a dog"}
REQUEST = {"dataframe_records": [ROW], "params": {"mask_mode": "none"}}


@pytest.fixture(scope="module")
def app(registered_project):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(registered_project)
        patch.setenv(IS_SERVED, "true")
        store.connect()
        yield Guard(scoring_server.init(mlflow.pyfunc.load_model("models:/iedit@champion")))


@pytest.fixture(scope="module")
def client(app):
    with TestClient(app) as client:
        yield client


def test_a_request_is_answered_as_by_mlflow(client, app):
    ours = client.post("/invocations", json=REQUEST)
    with TestClient(app._app) as plain:
        wanted = plain.post("/invocations", json=REQUEST)
    assert (ours.status_code, ours.json()) == (200, wanted.json())
    assert len(ours.json()["predictions"]) == 1
    assert client.get("/ping").status_code == 200
    assert client.get("/version").text == mlflow.__version__


@pytest.mark.parametrize(
    "kind", ['application/json; charset="UTF-8"', "application/json;charset=utf-8", "Application/JSON", "application/json ;"]
)
def test_json_in_utf8_is_taken_however_it_is_written(client, kind):
    answer = client.post("/invocations", content=json.dumps(REQUEST), headers={"content-type": kind})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("value", ["Error: foo", ". Error: foo", "\nError: foo", "Traceback Error: foo"])
def test_a_value_that_looks_like_an_error_is_kept(client, value):
    answer = client.post("/invocations", json=REQUEST | {"params": {"mask_mode": value}})
    assert answer.json()["message"] == f"mask_mode = {value!r}: allowed are predicted, given, none"


@pytest.mark.parametrize("value", ["Error: foo", "\nError: foo"])
def test_a_column_that_looks_like_an_error_is_not_repeated(client, value):
    answer = client.post("/invocations", json={"dataframe_records": [{"prompt": value}]})
    assert answer.json()["message"].startswith("Model is missing inputs ['image']")


@pytest.mark.parametrize(
    ("content", "headers", "status", "message"),
    [
        (json.dumps(REQUEST), {}, 415, "Content-Type = '': must be application/json"),
        (json.dumps(REQUEST), {"content-type": "text/csv"}, 415, "Content-Type = 'text/csv': must be application/json"),
        (
            json.dumps(REQUEST),
            {"content-type": "application/json; charset=latin-1"},
            415,
            "Content-Type = 'application/json; charset",
        ),
        (json.dumps(REQUEST), {"content-type": 'application/json; charset="utf-8'}, 415, "Content-Type = 'application/json; "),
        ("image,prompt\na,b", {"content-type": "application/vnd.apache.parquet"}, 415, "Content-Type = "),
        ("", JSON, 400, "the request is not JSON: Expecting value"),
        ("no JSON", JSON, 400, "the request is not JSON: Expecting value"),
        (b"\xff\xfe\x00", JSON, 400, "the request is not JSON: "),
        ("[" * 100_000, JSON, 400, "the request is JSON that is nested too deeply"),
        ('{"a":' * 100_000, JSON, 400, "the request is JSON that is nested too deeply"),
        ("[]", JSON, 400, "the request must be a JSON object, is []"),
        ("7", JSON, 400, "the request must be a JSON object, is 7"),
        ("{}", JSON, 400, "The input must be a JSON dictionary with exactly one of the input fields"),
        ({"dataframe_records": 5}, JSON, 400, ""),
        ({"dataframe_records": [5]}, JSON, 400, ""),
        ({"dataframe_records": {"image": [1, 2]}}, JSON, 400, ""),
        ({"dataframe_split": {"columns": ["image"]}}, JSON, 400, ""),
        ({"dataframe_split": []}, JSON, 400, ""),
        ({"instances": "a"}, JSON, 400, ""),
        ({"inputs": {"image": [[[]]]}}, JSON, 400, ""),
        ({"inputs": None}, JSON, 400, ""),
        ({"dataframe_records": [{"prompt": "a dog"}]}, JSON, 400, "Model is missing inputs ['image']"),
        (REQUEST | {"params": 3}, JSON, 400, "Parameters must be a dictionary"),
        (REQUEST | {"params": {"num_images": "x"}}, JSON, 400, "Invalid parameters found: "),
        (REQUEST | {"params": {"num_images": [[[]]]}}, JSON, 400, "Invalid parameters found: "),
        (REQUEST | {"params": {"num_images": 99}}, JSON, 400, "number of images = 99: allowed is 1 to 16"),
        (REQUEST | {"params": {"num_images": -(10**30)}}, JSON, 400, ""),
        (REQUEST | {"params": {"guidance_scale": 1e308}}, JSON, 400, "guidance_scale = 1e+308: must be a number, at least 1"),
        ({"dataframe_records": [ROW | {"prompt": {"a": []}}]}, JSON, 400, ""),
        ({"dataframe_records": [ROW | {"image": [[1], [2]]}]}, JSON, 400, ""),
    ],
)
def test_mistakes_are_answered_in_one_line(client, content, headers, status, message):
    body = content if isinstance(content, str | bytes) else json.dumps(content)
    answer = client.post("/invocations", content=body, headers=headers)
    assert (answer.status_code, sorted(answer.json())) == (status, ["error_code", "message"]), answer.text[:3000]
    assert answer.json()["message"].startswith(message)
    assert 0 < len(answer.json()["message"]) <= 500
    for word in ("Traceback", "\\n", ".py", "site-packages", ROW["image"][:40]):
        assert word not in answer.text


def test_a_request_beyond_the_limit_is_refused(client, monkeypatch):
    monkeypatch.setattr(guard, "MAX_BODY", 100)
    answer = client.post("/invocations", json=REQUEST)
    assert (answer.status_code, answer.json()["message"]) == (413, "the request is larger than 100 bytes")


def test_no_request_fills_the_log(client, caplog):
    unknown = {f"unknown {number}": "x" for number in range(3000)}
    request = {"dataframe_records": [ROW | unknown], "params": {"mask_mode": "none"} | unknown}
    logger = logging.getLogger("mlflow.models.utils")
    logger.addHandler(caplog.handler)  # MLflow's loggers may not propagate
    try:
        assert client.post("/invocations", json=request).status_code == 200
    finally:
        logger.removeHandler(caplog.handler)
    warnings = [record.getMessage() for record in caplog.records if record.name == logger.name]
    assert {line.split(" ")[0] for line in warnings} == {"Unrecognized", "Found"}
    assert max(map(len, warnings)) <= 500


def test_an_error_of_the_application_is_one_line(caplog):
    async def broken(*_: object) -> None:
        raise OSError(2, "No such file", "/a/path")

    answer = TestClient(Guard(broken)).post("/invocations", json=REQUEST)
    assert (answer.status_code, answer.json()["error_code"]) == (500, "INTERNAL_ERROR")
    assert answer.json()["message"] == "the request failed; see the log"
    assert "/a/path" not in answer.text
    assert "/a/path" in caplog.text


def call(app: Guard, leave: threading.Event) -> None:
    """Send REQUEST as a server does, and leave when ``leave`` is set, without waiting for the answer."""

    async def run() -> None:
        waiting = [{"type": "http.request", "body": json.dumps(REQUEST).encode(), "more_body": False}]

        async def receive() -> dict[str, Any]:
            if waiting:
                return waiting.pop()
            await asyncio.to_thread(leave.wait)
            return {"type": "http.disconnect"}

        async def send(_: object) -> None:
            pass

        headers = [(b"content-type", b"application/json")]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/invocations",
            "headers": headers,
            "query_string": b"",
            "root_path": "",
        }
        await asyncio.wait_for(app(scope | {"http_version": "1.1", "scheme": "http"}, receive, send), 30)

    asyncio.run(run())


def test_the_edit_ends_when_its_client_has_gone(app, monkeypatch):
    leave, ended = threading.Event(), []

    def edit_many(_: Editor, plans: object, on_progress: Any) -> None:
        on_progress(None)
        leave.set()
        for _step in range(3000):
            try:
                on_progress(None)
            except InputError as error:
                ended.append(str(error))
                raise
            threading.Event().wait(0.01)

    monkeypatch.setattr(Editor, "edit_many", edit_many)
    call(app, leave)
    assert ended == ["given up: the client has gone, or does not wait any longer"]


def test_the_work_ends_when_the_application_has_answered():
    """As after MLflow's answer of 504."""
    seen = []

    async def app(_: object, receive: Any, send: Any) -> None:
        await receive()
        seen.append(GIVEN_UP.get())
        assert not seen[0].is_set()
        await send({"type": "http.response.start", "status": 504, "headers": []})
        await send({"type": "http.response.body", "body": b"Request processing time exceeded limit"})

    answer = TestClient(Guard(app)).post("/invocations", json=REQUEST)
    assert (answer.status_code, answer.json()["message"]) == (504, "Request processing time exceeded limit")
    assert seen[0].is_set()
