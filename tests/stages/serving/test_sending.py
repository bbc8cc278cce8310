"""Clients that take their answers slowly, or not at all."""

import asyncio

import pytest

from stages.serving import sending
from stages.serving.security import Message, Receive, Scope, Send
from stages.serving.sending import PACE, PATIENCE, PIECE, AnswerLimit
from tests.support.harness import PATIENCE as LONG
from tests.support.serving import settled

CONTENT = bytes(10 * PIECE + 1)


def scope_of(client: str, method: str = "POST") -> Scope:
    return {"type": "http", "method": method, "path": "/invocations", "client": (client, 1), "headers": []}


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": CONTENT})


async def receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def stuck(message: Message) -> None:
    """Take nothing."""
    await asyncio.Event().wait()


async def stuck_at_its_body(message: Message) -> None:
    """Take the head alone."""
    if message["type"] == "http.response.body":
        await stuck(message)


def taken(seconds: float) -> list[Message]:
    """What a client gets that takes so many seconds over every message; they pass at once."""
    messages: list[Message] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        real, passed = loop.time, 0.0
        loop.time = lambda: real() + passed

        async def send(message: Message) -> None:
            nonlocal passed
            passed += seconds
            for _ in range(3):  # the loop's timers see it
                await asyncio.sleep(0)
            messages.append(message)

        await AnswerLimit(answer)(scope_of("a"), receive, send)

    asyncio.run(run())
    return messages


def test_an_answer_comes_in_pieces():
    start, *parts = taken(0)
    assert start["status"] == 200
    assert b"".join(part["body"] for part in parts) == CONTENT
    assert max(len(part["body"]) for part in parts) == PIECE
    assert [part["more_body"] for part in parts] == [True] * (len(parts) - 1) + [False]


def test_a_client_that_keeps_the_pace_gets_all():
    messages = taken(0.9 * PIECE / PACE)
    assert sum(len(message.get("body", b"")) for message in messages) == len(CONTENT)


def test_a_client_that_takes_too_little_is_cut_off():
    with pytest.raises(TimeoutError):
        taken(0.4 * PATIENCE)


def test_an_answer_that_is_not_taken_is_given_up(monkeypatch):
    monkeypatch.setattr(sending, "PATIENCE", 0.05)
    with pytest.raises(TimeoutError):
        asyncio.run(AnswerLimit(answer)(scope_of("a"), receive, stuck))


def test_who_has_untaken_answers_may_not_ask(monkeypatch):
    monkeypatch.setattr(sending, "MAX_UNTAKEN", len(CONTENT) - 1)

    async def run() -> dict[tuple[str, str], int]:
        limit, statuses = AnswerLimit(answer), {}
        first = asyncio.create_task(limit(scope_of("a"), receive, stuck_at_its_body))
        await settled(lambda: any(each.size for each in limit._untaken))

        async def status_of(client: str, method: str) -> int:
            found = []

            async def send(message: Message) -> None:
                found.append(message)

            await limit(scope_of(client, method), receive, send)
            return found[0]["status"]

        for asker in (("a", "POST"), ("a", "GET"), ("b", "POST")):
            statuses[asker] = await status_of(*asker)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        statuses["a", "POST again"] = await status_of("a", "POST")
        return statuses

    assert list(asyncio.run(asyncio.wait_for(run(), LONG)).values()) == [429, 200, 200, 200]


def test_beyond_the_bound_for_all_the_costliest_answer_ends(monkeypatch):
    monkeypatch.setattr(sending, "MAX_UNTAKEN_BY_ALL", 3 * len(CONTENT))

    async def run() -> None:
        loop, limit, takers, passed = asyncio.get_running_loop(), AnswerLimit(answer), [], 0.0
        real = loop.time
        loop.time = lambda: real() + passed
        for client in "abcd":  # there is room for three
            takers.append(asyncio.create_task(limit(scope_of(client), receive, stuck_at_its_body)))
            await settled(lambda: any(each.client == client and each.size for each in limit._untaken))  # noqa: B023 - used here
            passed += 1
        await asyncio.wait(takers, return_when=asyncio.FIRST_COMPLETED)
        assert [taker.done() for taker in takers] == [True, False, False, False]
        assert isinstance(takers[0].exception(), TimeoutError)
        for taker in takers[1:]:
            taker.cancel()
        await asyncio.wait(takers)

    asyncio.run(asyncio.wait_for(run(), LONG))
