"""Serving a page of the review: what it answers to, and what it leaves on disk."""

import os
import signal
import subprocess
import sys

import gradio as gr
import httpx
import pytest

from stages.review.look import serve
from tests.support import ROOT
from tests.support.harness import PATIENCE

REVIEWED = """
import argparse, sys, types
from stages.cli import review
def open_pair_page(*_):
    import gradio as gr
    with gr.Blocks() as page:
        gr.Textbox()
    return page
sys.modules["stages.review.pair_page"] = types.SimpleNamespace(open_pair_page=open_pair_page)
review.review(argparse.Namespace(table=False, compare=None, result=None, by="", reviewer="", port=0))
"""


@pytest.fixture(scope="module")
def client():
    """A client of a page with one event."""
    with gr.Blocks() as page:
        box = gr.Textbox()
        box.submit(lambda words: words, [box], [box])
    address = serve(page, 0, wait=False)
    with httpx.Client(base_url=address, timeout=PATIENCE) as client:
        yield client
    page.close()


def status_of(client: httpx.Client, words: object, **headers: str) -> int:
    content = {"data": [words], "fn_index": 0, "session_hash": "a"}
    return client.post("/gradio_api/run/predict", json=content, headers=headers).status_code


def test_only_the_names_of_this_machine_are_answered(client):
    port = client.base_url.port
    assert status_of(client, "a dog") == status_of(client, "a dog", host=f"localhost:{port}") == 200
    assert status_of(client, "a dog", host=f"evil.example:{port}") == 400
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400


def test_pages_of_other_sites_may_not_send(client):
    own = str(client.base_url).rstrip("/")
    assert status_of(client, "a dog", origin=own) == 200
    for headers in ({"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        assert status_of(client, "a dog", **headers) == 403


def test_no_file_and_no_address_is_opened(client):
    path = str(ROOT / "pyproject.toml")
    assert status_of(client, {"path": path, "meta": {"_type": "gradio.FileData"}}) == 403
    assert client.get("/gradio_api/file=http://127.0.0.1:1/").status_code == 403
    assert client.get(f"/gradio_api/file={path}").status_code == 403
    assert client.post("/gradio_api/upload", files={"files": ("a.txt", b"a")}).status_code == 403


def test_no_folder_of_other_programs_is_used_and_none_left(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    environment.pop("GRADIO_TEMP_DIR", None)
    command = [sys.executable, "-c", REVIEWED]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert any(line.startswith("reviewing at") for line in process.stdout)
        assert [path.name[:13] for path in tmp_path.iterdir()] == ["iedit-review-"]
        process.send_signal(signal.SIGTERM)
    assert list(tmp_path.iterdir()) == []
