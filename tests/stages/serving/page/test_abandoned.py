"""Calls whose visitor left at once, and those whose visitor watches and stops them."""

import asyncio
from collections import Counter
from types import SimpleNamespace

import gradio as gr
import httpx
import pytest
from playwright.sync_api import expect
from starlette.requests import Request

from stages.serving.folder import UPLOADS
from stages.serving.models import Models
from stages.serving.page import abandoned
from stages.serving.page.abandoned import JOIN, STREAM, AbandonedCalls
from tests.support.browser import needs_browser, open_page
from tests.support.serving import png, served, settled, wait_until


class Page:
    """A page that counts how often the calls of a session are given up."""

    def __init__(self) -> None:
        self.given_up = Counter()
        queue = SimpleNamespace(clean_events=self.clean, pending_event_ids_session={}, pending_messages_per_session={})
        self.get_blocks = lambda: SimpleNamespace(_queue=queue)

    async def clean(self, session_hash: str) -> None:
        self.given_up[session_hash] += 1


def request(page: Page, path: str) -> Request:
    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b'{"session_hash": "a"}'}

    return Request({"type": "http", "path": path, "query_string": b"session_hash=a", "headers": [], "app": page}, receive)


@pytest.mark.parametrize(("streams", "given_up"), [((), 1), (("open",), 0), (("open", "closed"), 0), (("closed",), 1)])
def test_calls_are_given_up_when_no_stream_is_open(monkeypatch, streams, given_up):
    monkeypatch.setattr(abandoned, "SECONDS", 0)

    async def visit() -> int:
        page, calls = Page(), AbandonedCalls()
        opened = [calls(request(page, STREAM)) for _ in streams]
        for stream in opened:
            await anext(stream)
        for stream, state in zip(opened, streams, strict=True):
            if state == "closed":
                await anext(stream, None)
        for _ in range(2):  # the second call comes before the look of the first
            join = calls(request(page, JOIN))
            await anext(join)
            await anext(join, None)
        await asyncio.gather(*calls._looks.values())
        return page.given_up["a"]

    assert asyncio.run(visit()) == given_up


@pytest.fixture
def address(shelf, tmp_path, monkeypatch):
    """The address of a service with a page."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "s" / UPLOADS))
    (tmp_path / "s").mkdir()
    with served(Models(shelf, tmp_path / "s"), page=tmp_path / "s") as address:
        yield address


def test_an_edit_that_nobody_listens_to_is_given_up(address, shelf, monkeypatch):
    look = AbandonedCalls._look

    async def look_later(calls: AbandonedCalls, session: str, page: gr.Blocks) -> None:
        """Look once the model is at work, however slow the machine is."""
        await settled(lambda: shelf.notes("one") == ["began"])
        await look(calls, session, page)

    monkeypatch.setattr(AbandonedCalls, "_look", look_later)
    monkeypatch.setattr(abandoned, "SECONDS", 0)
    with httpx.Client(base_url=address, timeout=300) as client:
        shown = client.get("/config").json()
        parts = {each["id"]: each["props"] for each in shown["components"]}
        names = {number: props.get("elem_id") or props.get("label") for number, props in parts.items()}
        (path,) = client.post("/gradio_api/upload", files={"files": ("photo.png", png())}).json()
        given = {
            "upload": {"path": path, "meta": {"_type": "gradio.FileData"}},
            "prompt": "endless",
            "Edit the whole picture, without a mask": True,
            "models": [],
        }

        def call(route: str, name: str, event: str) -> httpx.Response:
            """Send what the page sends when something happens to one of its components."""
            number = next(number for number in names if names[number] == name)
            function = next(each for each in shown["dependencies"] if [number, event] in each["targets"])
            values = [given.get(names[each], parts[each].get("value")) for each in function["inputs"]]
            content = {"fn_index": function["id"], "data": values, "session_hash": "a"}
            return client.post(f"/gradio_api/{route}", json=content)

        assert call("run/predict", "upload", "change").status_code == 200
        assert call("queue/join", "edit", "click").status_code == 200
        wait_until(lambda: shelf.notes("one") == ["began", "given up"])


@needs_browser
def test_an_edit_shows_its_progress_until_it_is_stopped(address, shelf):
    with open_page(f"{address}/") as page:
        page.locator("#examples button").first.click()
        expect(page.locator("#painter canvas")).to_be_visible()
        expect(page.locator("#prompt textarea")).not_to_have_value("")  # the example's own words come with it
        page.fill("#prompt textarea", "endless")
        page.click("#edit")
        expect(page.locator("#status")).to_contain_text("step 1 of 4")
        expect(page.locator("#status progress")).to_have_attribute("value", "1")
        expect(page.locator("#results .card")).to_contain_text("1, on its way")
        page.click("#stop")
        expect(page.locator("#status")).to_contain_text("Stopped.")
        expect(page.locator("#edit")).to_be_visible()
        wait_until(lambda: shelf.notes("one") == ["began", "given up"])
