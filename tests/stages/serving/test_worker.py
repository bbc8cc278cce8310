"""The process that runs a model: a real one on a registered version, and its application for what a process hides."""

import asyncio
import base64
import io
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import httpx
import numpy as np
import pytest
import torch
from fastapi import FastAPI
from PIL import Image

from stages.diffusion.sampling import Step
from stages.editing.editor import Editor
from stages.editing.job import EditJob
from stages.editing.pictures import decode_picture, encode_picture
from stages.serving import fields, worker
from stages.serving.batching import Batcher, GivenUpError, Request
from stages.serving.worker import load_app, make_app
from stages.tracking import registry, store
from tests.support.editing_inputs import DRAFTED, SAMPLING, half, photo
from tests.support.harness import PATIENCE

ASKED = {"image": encode_picture(photo()), "prompt": "a dog", "mask_mode": "none"}
WITHIN = {**ASKED, "mask_mode": "given", "mask": encode_picture(half())}


@dataclass(frozen=True)
class Running:
    """A worker, and the process that started it and holds its standard input open."""

    starter: subprocess.Popen
    worker: int  # a file descriptor of the process
    socket: Path


def start(folder: Path, code: Path, socket: Path) -> Running:
    command = [sys.executable, "-P", "-m", "stages.serving.worker", str(folder), str(socket)]
    program = f"import subprocess, time; print(subprocess.Popen({command!r}, stdin=-1).pid, flush=True); time.sleep(3600)"
    environment = os.environ | {"PYTHONPATH": str(code)}
    starter = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
    return Running(starter, os.pidfd_open(int(starter.stdout.readline())), socket)


def connect(socket: Path) -> httpx.Client:
    """A client of a worker that is ready."""
    client = httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://worker", timeout=PATIENCE)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            client.get("/info")
        except httpx.TransportError:
            time.sleep(0.2)
        else:
            return client
    raise TimeoutError("the worker does not answer")


@pytest.fixture(scope="module")
def version(registered_project) -> Path:
    """The folder of the champion."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(registered_project)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return registry.fetch_model(store.connect(), registry.CHAMPION_URI)


@pytest.fixture(scope="module")
def running(version) -> Iterator[Running]:
    """A worker that runs the champion on the code that was registered with it."""
    with tempfile.TemporaryDirectory() as folder:
        running = start(version, version / "code", Path(folder, "socket"))
        yield running
        running.starter.kill()
        running.starter.communicate()
        os.close(running.worker)


@pytest.fixture(scope="module")
def client(running) -> Iterator[httpx.Client]:
    connected = connect(running.socket)
    yield connected
    connected.close()


def ask(client: httpx.Client, **changes: object) -> list[dict]:
    answer = client.post("/edits", json=ASKED | changes)
    assert answer.status_code == 200
    return [json.loads(line) for line in answer.text.splitlines()]


def decoded(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


class TestProcess:
    def test_info(self, client):
        assert client.get("/info").json()["sampling"]["steps"] == 2

    def test_an_edit_reports_its_steps_and_its_results(self, client):
        *steps, last = ask(client, **WITHIN, steps=4, images=2, previews=True, model="models:/iedit/1")
        assert [(line["step"], line["of"]) for line in steps] == [(1, 4), (2, 4), (3, 4), (4, 4)]
        assert [len(line.get("previews", ())) for line in steps] == [0, 0, 2, 2]
        assert last["sampling"]["steps"] == 4
        mask = np.asarray(decoded(last["mask"]))
        for text in last["images"]:
            result = decode_picture(text)
            assert np.array_equal(np.asarray(result)[mask == 0], np.asarray(photo())[mask == 0])
            assert b"compositeWithTrainedAlgorithmicMedia" in decoded(text).info["xmp"]

    def test_requests_that_come_together_share_a_batch(self, client):
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda seed: ask(client, seed=seed, steps=60)[-1], range(6)))
        batches = [answer["batch"] for answer in answers if answer["batch"] is not None]
        assert (sum(batches), len(batches) < 6) == (6, True)
        alone = ask(client, seed=3, steps=60)[-1]
        pair = [np.asarray(decode_picture(each["images"][0]), int) for each in (answers[3], alone)]
        assert np.abs(pair[0] - pair[1]).max() <= 1

    def test_mlflows_protocol_is_served_too(self, client):
        rows = {"dataframe_records": [{"image": ASKED["image"], "prompt": "a dog"}], "params": {"mask_mode": "none"}}
        answer = client.post("/invocations", json=rows)
        assert (answer.status_code, len(answer.json()["predictions"])) == (200, 1)
        wrong = client.post("/invocations", content="no JSON", headers={"content-type": "application/json"})
        assert (wrong.status_code, sorted(wrong.json())) == (400, ["error_code", "message"])

    def test_an_edit_that_takes_too_long_is_given_up(self, client):
        assert ask(client, steps=999, deadline=0.01)[-1] == {"error": "not done in time", "kind": "given up"}
        assert "images" in ask(client)[-1]


def test_a_worker_ends_with_whoever_started_it(running, client):
    """The last test of the process: its starter is killed, and can do nothing for it."""
    assert client.get("/info").is_success
    assert select.select([running.worker], [], [], 0)[0] == []
    running.starter.kill()
    assert select.select([running.worker], [], [], PATIENCE)[0] == [running.worker]


@pytest.fixture(scope="module")
def app(editor) -> FastAPI:
    return make_app(SAMPLING, Batcher(editor))


def call(app: FastAPI, path: str, content: object) -> httpx.Response:
    async def run() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://worker") as client:
            return await client.post(path, content=content if isinstance(content, str) else json.dumps(content))

    return asyncio.run(run())


class TestMistakes:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("no JSON", "the request: Invalid JSON"),
            ("[" * 5000, "the request: Invalid JSON: recursion limit exceeded"),
            ([], "the request: Input should be an object"),
            ({}, "image = {}: Field required"),
            (ASKED | {"colour": 1}, "colour = 1: Extra inputs are not permitted"),
            (ASKED | {"image": "aGVsbG8="}, "image: not an image"),
            (ASKED | {"image": 3}, "image = 3: Input should be a valid string"),
            (ASKED | {"prompt": " \n"}, "prompt: must not be blank"),
            (ASKED | {"mask_mode": "magic"}, "mask_mode = 'magic': "),
            (ASKED | {"mask_mode": "given"}, "no mask is given, but mask_mode is 'given'"),
            (WITHIN | {"mask_mode": "none"}, "a mask is given, but mask_mode is 'none'"),
            (WITHIN | {"mask": encode_picture(Image.new("L", (32, 32)))}, "the mask is black everywhere"),
            (ASKED | {"images": 17}, "number of images = 17"),
            (ASKED | {"strength": 2}, "strength = 2.0: must be a number"),
            (ASKED | {"steps": 10**30}, "steps = "),
            (ASKED | {"deadline": 0}, "deadline = 0"),
            (ASKED | {"images": 16, "steps": 999}, "1 rows × 16 images × 999 steps"),
            (WITHIN | {"context": 99}, "context = 99: must be at least 0.25"),
        ],
    )
    def test_a_mistake_is_one_line(self, app, content, message):
        answer = call(app, "/edits", content)
        (line,) = [json.loads(each) for each in answer.text.splitlines()]
        assert line["kind"] == "refused"
        assert line["error"].startswith(message)
        assert "\n" not in line["error"]
        assert len(line["error"]) < 500

    @pytest.mark.parametrize("path", ["/edits", "/masks", "/terms"])
    def test_a_failure_has_no_traceback_and_no_path(self, app, editor, monkeypatch, caplog, path):
        def fail(*_: object, **__: object) -> None:
            raise OSError(5, "Input/output error", "/a/path")

        monkeypatch.setattr(Editor, "plan", fail)
        monkeypatch.setattr(Editor, "require_segmenter", fail)
        asked = {"image": ASKED["image"], "words": ["dog"]} if path == "/terms" else ASKED
        answer = call(app, path, asked)
        assert json.loads(answer.text) == {"error": "the edit failed: OSError; see the log", "kind": "failed"}
        assert "/a/path" in caplog.text

    def test_mistakes_in_other_questions_have_a_status(self, app):
        assert call(app, "/masks", ASKED | {"prompt": ""}).status_code == 400
        assert call(app, "/terms", {"image": ASKED["image"], "words": []}).status_code == 400


def test_one_picture_is_decoded_at_a_time(app, monkeypatch):
    decoding, at_once = [], []

    def decode(text: str) -> Image.Image:
        decoding.append(text)
        at_once.append(len(decoding))
        time.sleep(0.05)  # others would begin meanwhile
        decoding.pop()
        return photo()

    async def ask_all() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://worker") as client:
            asked = {"image": "", "words": ["dog"]}
            await asyncio.gather(*(client.post("/terms", json=asked) for _ in range(6)))

    monkeypatch.setattr(fields, "decode_picture", decode)
    monkeypatch.setattr(worker, "probabilities", lambda *_, **__: {})
    asyncio.run(ask_all())
    assert at_once == [1] * 6


def test_the_edit_ends_when_its_client_has_gone(app, monkeypatch):
    """The client leaves after the first line."""
    asked: list[Request] = []
    submit = Batcher.submit

    def submitted(self, *arguments: object) -> Request:
        asked.append(submit(self, *arguments))
        return asked[0]

    monkeypatch.setattr(Batcher, "submit", submitted)
    body = json.dumps(ASKED | {"steps": 600, "images": 16}).encode()
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def run() -> None:
        gone = asyncio.Event()

        async def receive() -> dict:
            if messages:
                return messages.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict) -> None:
            if message.get("body"):
                gone.set()

        await asyncio.wait_for(app(scope_of("/edits"), receive, send), PATIENCE)

    asyncio.run(run())
    with pytest.raises(GivenUpError):
        asked[0].answer.result(PATIENCE)


def test_a_mask_is_given_up_when_its_client_has_gone(editor, monkeypatch):
    """The client leaves after the first step of the draft."""
    asked: list[Future[object]] = []
    gone = asyncio.Event()
    call_model, find = Batcher.call, worker.find_masks

    def called(self, function: Callable[[Editor], object]) -> Future[object]:
        asked.append(call_model(self, function))
        return asked[0]

    async def run() -> None:
        loop = asyncio.get_running_loop()

        def found(*arguments: object, job: EditJob, on_step: Callable[[Step], None]) -> object:
            def step(done: Step) -> None:
                if not gone.is_set():
                    loop.call_soon_threadsafe(gone.set)
                on_step(done)

            return find(*arguments, job=job, on_step=step)

        monkeypatch.setattr(worker, "find_masks", found)
        monkeypatch.setattr(Batcher, "call", called)
        app = make_app(DRAFTED.model_copy(update={"mask_threshold": 0.001}), Batcher(editor))
        body = json.dumps(ASKED | {"mask_mode": "predicted", "steps": 999, "strength": 1}).encode()
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict:
            if messages:
                return messages.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(_: dict) -> None:
            pass

        await asyncio.wait_for(app(scope_of("/masks"), receive, send), PATIENCE)

    asyncio.run(run())
    with pytest.raises(GivenUpError):
        asked[0].result(PATIENCE)


def scope_of(path: str) -> dict[str, object]:
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "root_path": "", "headers": []}
    return scope | {"query_string": b"", "http_version": "1.1", "scheme": "http"}


def test_a_question_whose_client_has_gone_is_not_answered(editor, monkeypatch):
    """It waits behind other work when its client leaves."""
    answered: list[object] = []
    monkeypatch.setattr(worker, "probabilities", lambda *_, **__: answered.append(1))
    batcher, release = Batcher(editor), Event()
    batcher.call(lambda _: release.wait(PATIENCE))
    app = make_app(SAMPLING, batcher)
    body = json.dumps({"image": ASKED["image"], "words": ["dog"]}).encode()
    messages = [{"type": "http.disconnect"}, {"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict:
        return messages.pop()

    async def send(_: dict) -> None:
        pass

    asyncio.run(app(scope_of("/terms"), receive, send))
    release.set()
    batcher.call(lambda _: None).result(PATIENCE)
    assert answered == []


def test_masks_are_found_and_drafted(editor, monkeypatch):
    def probabilities(_: object, images: list[Image.Image], prompts: list[str]) -> torch.Tensor:
        found = torch.zeros(len(images), 1, 32, 32)
        for row, image in enumerate(images):
            left = 0 if image.tobytes() == photo().tobytes() else 16  # of the picture, of its draft
            found[row, :, 8:24, left : left + 12] = 0.9
        return found

    monkeypatch.setattr(type(editor.segmenter), "probabilities", probabilities)
    drafted = make_app(SAMPLING.model_copy(update={"mask_draft": True}), Batcher(editor))
    asked = ASKED | {"mask_mode": "predicted", "term": "dog"}
    found = call(drafted, "/masks", asked).json()
    assert decoded(found["found"]).getbbox() == (0, 8, 12, 24)
    assert decoded(found["draft"]).getbbox() == (16, 8, 28, 24)
    plain = make_app(SAMPLING, Batcher(editor))
    assert call(plain, "/masks", asked).json() == {"found": found["found"], "draft": None}
    assert call(plain, "/masks", asked | {"mask_mode": "none"}).json()["found"] == found["found"]
    words = call(plain, "/terms", {"image": ASKED["image"], "words": ["dog", "cat"]}).json()
    assert words == {"probabilities": {"dog": pytest.approx(0.9), "cat": pytest.approx(0.9)}}


def test_a_folder_is_served_on_the_present_code(registered_project, monkeypatch):
    monkeypatch.chdir(registered_project)
    served = load_app(Path("models/iedit"))
    lines = call(served, "/edits", ASKED).text.splitlines()
    assert "images" in json.loads(lines[-1])
    assert call(served, "/invocations", {}).status_code == 404
