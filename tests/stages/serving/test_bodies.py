"""Bodies of clients that do not keep up."""

import asyncio

import pytest
from starlette.exceptions import HTTPException

from stages.serving import bodies
from stages.serving.bodies import BodyLimit
from stages.serving.security import Message, Receive, Scope, Send
from tests.support.harness import PATIENCE


def scope_of(path: str) -> Scope:
    return {"type": "http", "method": "POST", "path": path, "headers": []}


async def read_and_answer(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"a"})


async def receive() -> Message:
    return {"type": "http.request", "body": b"x" * 60, "more_body": False}


def test_a_client_that_takes_no_answer_holds_no_room(monkeypatch):
    monkeypatch.setattr(bodies, "MAX_BODIES", 100)

    async def all_at_once() -> None:
        limit, answered = BodyLimit(read_and_answer), asyncio.Semaphore(0)

        async def stuck(message: Message) -> None:
            answered.release()
            await asyncio.Event().wait()

        clients = []
        async with asyncio.timeout(PATIENCE):
            for _ in range(5):
                clients.append(asyncio.create_task(limit(scope_of("/"), receive, stuck)))
                await answered.acquire()
        for client in clients:
            client.cancel()
        assert all(isinstance(each, asyncio.CancelledError) for each in await asyncio.gather(*clients, return_exceptions=True))

    asyncio.run(all_at_once())


@pytest.mark.parametrize(("path", "most"), [("/gradio_api/run/predict", 50), ("/gradio_api/upload", 70), ("/invocations", 70)])
def test_calls_of_the_page_may_bring_less(monkeypatch, path, most):
    monkeypatch.setattr(bodies, "MAX_PAGE", 50)
    monkeypatch.setattr(bodies, "MAX_BODY", 70)
    answers: list[Message] = []

    async def send(message: Message) -> None:
        answers.append(message)

    scope = scope_of(path) | {"headers": [(b"content-length", b"%d" % (most + 1))]}
    asyncio.run(BodyLimit(read_and_answer)(scope, receive, send))
    assert (answers[0]["status"], f"{most} bytes".encode() in answers[1]["body"]) == (413, True)


@pytest.mark.parametrize(
    ("path", "status"), [("/gradio_api/run/predict", 413), ("/gradio_api/upload", 200), ("/invocations", 200)]
)
@pytest.mark.parametrize("piece", [b"[],", b"{", b"1,"])
def test_calls_of_the_page_may_hold_fewer_values(path, status, piece):
    pieces = [piece * (bodies.MAX_MARKS // 4) for _ in range(5)]

    async def receive() -> Message:
        return {"type": "http.request", "body": pieces.pop(), "more_body": bool(pieces)}

    statuses: list[int] = []

    async def send(message: Message) -> None:
        statuses.append(message.get("status", 0))

    async def answered() -> int:
        try:
            await BodyLimit(read_and_answer)(scope_of(path), receive, send)
        except HTTPException as error:
            return error.status_code
        return statuses[0]

    assert asyncio.run(answered()) == status
