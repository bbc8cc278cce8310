"""What the page does on a click when something else happens meanwhile; stand-ins are the models."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import gradio as gr
import pytest
from PIL import Image
from starlette.requests import Request

from stages.serving.admission import Admission
from stages.serving.page import session as session_module
from stages.serving.page.actions import Actions
from stages.serving.page.layout import Layout, lay_out
from stages.serving.page.session import Session
from stages.serving.service import Service
from tests.support.serving import FORM, FREE, png, settled

REQUEST = gr.Request(request=Request({"type": "http", "headers": [], "client": ("127.0.0.1", 1)}))
Work = Callable[[Actions], Coroutine[Any, Any, Any]]


@pytest.fixture(scope="module")
def layout() -> Layout:
    """The components of the page."""
    with gr.Blocks(analytics_enabled=False):
        return lay_out([])


@pytest.fixture
def act(stand_ins, loop, layout, tmp_path) -> Callable[[Work], Any]:
    """Do something with the actions of a page whose model is loaded, and return its result."""

    def run(work: Work) -> Any:
        async def main() -> Any:
            service = Service(stand_ins, Admission(FREE))
            await settled(lambda: service.state == "ready")
            return await work(Actions(layout, service, tmp_path, []))

        return asyncio.run_coroutine_threadsafe(main(), loop).result()

    return run


@pytest.fixture
def session(tmp_path) -> Session:
    """A visitor's session with a photograph."""
    session = Session.start(tmp_path)
    asyncio.run(session.open(png, "first", "a"))
    return session


def data_of(layout: Layout, session: Session, **changes: object) -> dict[Any, Any]:
    """What the browser sends."""
    form = FORM | changes
    return {layout.session: session, layout.painter: None} | {part: form[name] for name, part in layout.form.items()}


def test_finished_results_are_shown_when_a_later_model_fails(act, layout, session):
    async def edit(actions: Actions) -> Any:
        data = data_of(layout, session, models=["one", "none", "two"])
        return [changes async for changes in actions.edit(data, REQUEST)][-1]

    changes = act(edit)
    assert "no such model" in changes[layout.status]
    assert [card["title"] for card in changes[layout.results]["value"]["cards"]] == ["1 · one", "2 · one"]
    assert changes[layout.results]["value"]["columns"] == 1
    assert [len(edit.results) for edit in session.edits] == [2]


def test_an_edit_shows_its_steps_with_previews(act, layout, session):
    async def edit(actions: Actions) -> Any:
        return [changes async for changes in actions.edit(data_of(layout, session), REQUEST)]

    steps = [changes for changes in act(edit) if "<progress value" in str(changes.get(layout.status))]
    assert [f"step {step} of 4" in changes[layout.status] for step, changes in enumerate(steps, 1)] == [True] * 4
    for changes in steps:
        cards = changes[layout.results]["value"]["cards"]
        assert [(card["title"], card["preview"]) for card in cards] == [(f"{n}, on its way", True) for n in (1, 2)]


def test_a_suggestion_does_not_replace_the_word_that_was_clicked(act, layout, session):
    async def suggest(actions: Actions) -> Any:
        suggested = (await actions.suggest(data_of(layout, session, term=None), REQUEST))[layout.suggested]
        return suggested, actions.take_suggestion("clicked", suggested), actions.take_suggestion(None, suggested)

    suggested, clicked, unclicked = act(suggest)
    assert suggested is not None
    assert unclicked == {layout.term: suggested}
    assert layout.term not in clicked


@pytest.mark.parametrize("action", ["suggest", "find_mask", "edit"])
def test_another_picture_may_come_before_the_first_is_read(act, layout, session, monkeypatch, action):
    decode = session_module.decode

    async def decode_later(client: str, how: Callable[..., Any], *arguments: Any) -> Any:
        """Decode once another picture is opened."""
        monkeypatch.setattr(session_module, "decode", decode)
        await session.open(lambda: png(Image.new("RGB", (50, 20))), "second", "b")
        return await decode(client, how, *arguments)

    monkeypatch.setattr(session_module, "decode", decode_later)

    async def click(actions: Actions) -> Any:
        answer = getattr(actions, action)(data_of(layout, session), REQUEST)
        return await answer if action == "suggest" else [changes async for changes in answer][-1]

    changes = act(click)
    assert session.photo.name == "second"
    assert changes.keys() & {layout.term, layout.painter, layout.results}
    assert "alert" not in str(changes.get(layout.status))
