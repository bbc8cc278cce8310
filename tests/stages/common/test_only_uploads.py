"""Requests that a browser would not send: files by their paths and by addresses elsewhere."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from stages.serving.admission import Admission
from stages.serving.folder import UPLOADS
from stages.serving.models import Models
from stages.serving.page.page import mount_page
from stages.serving.service import Service
from tests.support.serving import Shelf, png

SECRET = "secret.png"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of the service, with a picture beside the uploads."""
    folder = tmp_path_factory.mktemp("service")
    folder.joinpath(SECRET).write_bytes(png())
    return folder


@pytest.fixture(scope="module")
def client(folder):
    """A client of the page, whose service has no model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder / UPLOADS))
        app = FastAPI()
        mount_page(app, Service(Models(Shelf(folder), folder), Admission()), folder)
        with TestClient(app) as client:
            yield client


def named(path: object) -> dict[str, object]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def status_of_words(client: TestClient, prompt: object) -> int:
    """The status of the answer to a prompt, which Gradio takes for a file if it looks like one."""
    calls = client.get("/config").json()["dependencies"]
    number = next(each["id"] for each in calls if len(each["inputs"]) == 2 and len(each["outputs"]) == 1)
    content = {"data": [prompt, None], "fn_index": number, "session_hash": "a"}
    return client.post("/gradio_api/run/predict", json=content).status_code


def test_an_upload_may_be_named(client):
    (path,) = client.post("/gradio_api/upload", files={"files": ("photo.png", png())}).json()
    assert status_of_words(client, named(path)) == 200
    assert status_of_words(client, "a dog") == 200


def test_few_files_are_looked_for_in_one_call(client):
    (path,) = client.post("/gradio_api/upload", files={"files": ("photo.png", png())}).json()
    assert status_of_words(client, [named(path)] * 8) == 200
    assert status_of_words(client, [named(path)] * 9) == 403


@pytest.mark.parametrize("path", [SECRET, f"files/../{SECRET}", "files", "files/none.png"])
def test_other_files_are_not_opened(client, folder, path):
    assert status_of_words(client, named(str(folder / path))) == 403
    assert status_of_words(client, [{"deep": named(str(folder / path))}]) == 403


@pytest.mark.parametrize("path", ["http://127.0.0.1:1/a.png", "https://example.com/a.png", "pyproject.toml", "", "\0", 5, None])
def test_what_is_no_upload_is_not_opened(client, path):
    assert status_of_words(client, named(path)) == 403


@pytest.mark.parametrize("route", ["file=", "file/", "proxy="])
def test_no_address_is_fetched(client, route):
    assert client.get(f"/gradio_api/{route}http://127.0.0.1:1/").status_code == 403


@pytest.mark.parametrize("content", [{"files": {"files": ("a.png", png())}}, {"content": b"[" * 20_000}])
def test_only_uploads_come_in_another_form_than_json(client, content):
    assert client.post("/gradio_api/component_server", **content).status_code == 400
