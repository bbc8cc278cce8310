"""The service: edits with their progress, and every way in which one can end."""

import asyncio
import base64
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from threading import Event
from typing import Any

import pytest
from PIL import Image, ImageOps

from stages.core.errors import InputError
from stages.editing.request import MaskMode
from stages.serving import service as services
from stages.serving.admission import Admission, Limits
from stages.serving.calls import (
    BusyError,
    DeadlineExceededError,
    EditCall,
    Edited,
    EditFailedError,
    ModelUnavailableError,
    Picture,
    Progress,
    UnknownModelError,
)
from stages.serving.models import Models
from stages.serving.service import Service
from tests.support.harness import PATIENCE
from tests.support.serving import FREE, call, picture, png, settled

Work = Callable[[Service], Coroutine[Any, Any, Any]]


@pytest.fixture
def ask(stand_ins, shared_shelf, loop) -> Callable[..., Any]:
    """Do some work with a service whose model is loaded, and return its result."""

    def run(work: Work, limits: Limits = FREE) -> Any:
        async def main() -> Any:
            service = Service(stand_ins, Admission(limits))
            await settled(lambda: service.state == "ready")
            shared_shelf.forget()
            return await work(service)

        return asyncio.run_coroutine_threadsafe(main(), loop).result()

    return run


async def events_of(service: Service, call: EditCall, model: str = "default") -> list[Progress | Edited]:
    async with aclosing(service.edit(call, model=model)) as events:
        return [event async for event in events]


def test_an_edit_yields_its_progress_and_then_its_results(ask):
    *progress, edited = ask(lambda service: events_of(service, call(images=2, mask_mode=MaskMode.NONE)))
    assert progress == [Progress(step=step, of=4) for step in range(1, 5)]
    assert [edited.image(number).tobytes() for number in range(2)] == [ImageOps.invert(picture()).tobytes()] * 2
    assert (edited.mask, edited.model.reference, edited.model.name) == (None, "one", "one")
    assert edited.seconds > 0


def test_previews_and_mask_come_as_pictures(ask):
    first, *_, edited = ask(lambda service: events_of(service, call(images=2, previews=True)))
    assert [preview.tobytes() for preview in first.previews] == [picture().tobytes()] * 2
    assert (edited.mask.mode, edited.mask.size, edited.mask.getextrema()) == ("L", (40, 30), (255, 255))


def test_the_model_gets_every_word_and_number(ask):
    asked = call(
        negative_prompt="a cat",
        mask=Image.new("L", (40, 30), 255),
        mask_mode=MaskMode.GIVEN,
        term="dog",
        source_term="cat",
        context=2.0,
        seed=2**62,
        strength=0.5,
        guidance_scale=2.0,
        steps=7,
    )
    sent = ask(lambda service: events_of(service, asked))[-1].sampling["call"]
    assert 0 < sent.pop("deadline") <= FREE.seconds
    assert base64.b64decode(sent.pop("image")) == png()  # the file as it came
    assert sent.pop("mask")
    assert sent == {
        "prompt": "a dog",
        "negative_prompt": "a cat",
        "mask_mode": "given",
        "term": "dog",
        "source_term": "cat",
        "context": 2.0,
        "images": 1,
        "seed": 2**62,
        "strength": 0.5,
        "guidance_scale": 2.0,
        "steps": 7,
        "previews": False,
        "model": "one",
    }


@pytest.mark.parametrize(
    ("prompt", "error", "message"),
    [
        ("refuse", InputError, "a word is wrong"),
        ("late", DeadlineExceededError, "too late"),
        ("fail", EditFailedError, "the edit failed; see the log"),
        ("die", ModelUnavailableError, "the model's process has ended; it is started again"),
    ],
)
def test_an_edit_ends_with_the_error_of_its_model(ask, prompt, error, message):
    with pytest.raises(error, match=message):
        ask(lambda service: events_of(service, call(prompt)))


@pytest.mark.parametrize(
    ("asked", "model", "error"),
    [
        (call(images=17), "default", InputError),
        (call(images=16, steps=999), "default", InputError),
        (call(), "four", UnknownModelError),
        (call(), "../one", UnknownModelError),
    ],
    ids=["images", "steps", "model", "path"],
)
def test_what_the_model_need_not_see_is_refused(ask, shared_shelf, asked, model, error):
    with pytest.raises(error):
        ask(lambda service: events_of(service, asked, model))
    assert shared_shelf.notes("one") == []


def test_a_picture_too_large_is_refused_not_put_off(ask):
    with pytest.raises(InputError, match="the image has 1,200 pixels: with 4 results, 1,000 are allowed"):
        ask(lambda service: events_of(service, call(images=4)), Limits(per_minute=0, pixels=5000))


def test_the_file_of_a_picture_counts_while_it_is_edited(ask):
    async def work(service: Service) -> int:
        async with aclosing(service.edit(call("endless", image=Picture(png() + bytes(5000), (40, 30))))) as events:
            await anext(events)
            return service._admission.pixels

    assert ask(work) == len(png()) + 5000


def test_an_edit_that_takes_too_long_is_given_up(ask, shared_shelf, monkeypatch):
    async def work(service: Service) -> None:
        loop = asyncio.get_running_loop()
        async with aclosing(service.edit(call("endless"))) as events:
            await anext(events)
            late = loop.time() + FREE.seconds
            with monkeypatch.context() as patch:
                patch.setattr(loop, "time", lambda: late)
                with pytest.raises(DeadlineExceededError, match="not done within 120 seconds"):
                    await anext(events)
        await settled(lambda: shared_shelf.notes("one") == ["began", "given up"])

    ask(work)


def test_an_edit_that_nobody_waits_for_is_given_up(ask, shared_shelf):
    async def work(service: Service) -> None:
        async with aclosing(service.edit(call("endless"))) as events:
            await anext(events)
        await settled(lambda: shared_shelf.notes("one") == ["began", "given up"])

    ask(work)


def test_no_trace_is_left_of_what_ended(ask):
    async def work(service: Service) -> tuple[int, int]:
        for prompt in ("a dog", "refuse", "fail"):
            await asyncio.gather(events_of(service, call(prompt)), return_exceptions=True)
        async with aclosing(service.edit(call("endless"))) as events:
            await anext(events)
        return service._admission.requests, service._admission.pixels

    assert ask(work) == (0, 0)


def test_beyond_the_bound_requests_are_turned_away(ask, shared_shelf):
    async def work(service: Service) -> list[type]:
        edits = [asyncio.create_task(events_of(service, call("held"))) for _ in range(5)]
        await settled(lambda: sum(edit.done() for edit in edits) == 3)
        shared_shelf.release("one")
        answers = await asyncio.gather(*edits, return_exceptions=True)
        return sorted(type(answer).__name__ for answer in answers)

    assert ask(work, Limits(requests=2, per_minute=0)) == ["BusyError"] * 3 + ["list"] * 2


def test_before_the_model_is_loaded_nothing_is_edited(shelf, tmp_path):
    async def main() -> None:
        service = Service(Models(shelf, tmp_path), Admission(FREE))
        await service.start()
        try:
            assert service.state == "loading"
            with pytest.raises(ModelUnavailableError, match="is being loaded"):
                await events_of(service, call())
        finally:
            await service.stop()

    asyncio.run(main())


def test_a_mask_is_found(ask):
    found = ask(lambda service: service.find_mask(call()))
    assert found.found.tobytes() == found.draft.tobytes() == picture().convert("L").tobytes()


@pytest.mark.parametrize(
    ("prompt", "term"),
    [
        ("a red dog with a kite", "kite"),  # the stand-in shows short words
        ("very red", None),
        ("a red dog" + " and very red" * 800 + " with a kite", "dog"),
    ],
    ids=["nouns", "none", "long"],
)
def test_the_noun_least_shown_is_suggested(ask, prompt, term):
    assert ask(lambda service: service.suggest_term(call().image, prompt)) == term


@pytest.mark.parametrize(
    ("changes", "term"),
    [
        ({}, "kite"),
        ({"term": "dog"}, "dog"),
        ({"mask_mode": MaskMode.NONE}, None),
        ({"mask_mode": MaskMode.GIVEN, "mask": Image.new("L", (40, 30), 255)}, None),
    ],
    ids=["no term", "a term", "no mask", "a mask"],
)
def test_an_edit_takes_the_suggested_term_where_it_needs_one(ask, changes, term):
    edited = ask(lambda service: events_of(service, call("a dog with a kite", **changes)))[-1]
    assert edited.sampling["call"].get("term") == term


@pytest.fixture
def reading(monkeypatch):
    """What lets prompts be read, which are not before; and those whose reading has begun."""
    free, prompts = Event(), []

    def read(prompt: str) -> list[str]:
        prompts.append(prompt)
        free.wait(PATIENCE)
        return []

    monkeypatch.setattr(services, "_nouns", read)
    yield free, prompts
    free.set()


def test_suggestions_count_among_the_requests_in_flight(ask, reading):
    async def work(service: Service) -> None:
        first = asyncio.create_task(service.suggest_term(call().image, "a dog"))
        await settled(lambda: service._admission.requests == 1)
        with pytest.raises(BusyError):
            await service.suggest_term(call().image, "a dog")
        reading[0].set()
        assert await first is None

    ask(work, Limits(requests=1, per_minute=0))


def test_a_suggestion_that_takes_too_long_is_given_up(ask, reading):
    with pytest.raises(DeadlineExceededError):
        ask(lambda service: service.suggest_term(call().image, "a dog"), Limits(per_minute=0, seconds=0.5))


def test_clients_take_turns_with_their_prompts(ask, reading):
    async def work(service: Service) -> None:
        suggestions = [asyncio.create_task(service.suggest_term(call().image, name, client=name)) for name in "aaaabac"]
        waiting = service._language._thread._work_queue
        await settled(lambda: reading[1] == ["a"] and waiting.qsize() == 2)  # those of b and c
        reading[0].set()
        await asyncio.gather(*suggestions)

    ask(work)
    assert "".join(reading[1]) == "abcaaaa"
