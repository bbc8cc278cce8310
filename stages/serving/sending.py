"""How answers are sent: in pieces, at a pace that the client must keep.

What a client has not taken stays in memory. So an answer that is taken too slowly is given up, a client with much of it may
not ask for more meanwhile, and where all clients together have too much, those answers are given up that cost most.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.requests import Request

from stages.serving.answers import answer_error
from stages.serving.calls import BusyError
from stages.serving.clients import name_of
from stages.serving.security import App, Message, Receive, Scope, Send

PIECE = 256 * 2**10  # bytes of an answer that may wait in the buffer of a connection
PACE = 64 * 2**10  # bytes that a client must take in a second
PATIENCE = 60  # seconds that it may be behind
MAX_UNTAKEN = 256 * 2**20  # bytes that it may not have taken when it asks for more
MAX_UNTAKEN_BY_ALL = 4 * MAX_UNTAKEN  # of all clients
RETRY_SECONDS = 5


class AnswerLimit:
    """An ASGI application around another one."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._untaken: list[_Answer] = []  # the newest last

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Raises:
            TimeoutError: the client does not take its answer, or keeps too much memory for too long.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client, pace = name_of(Request(scope)), _Pace()
        own = sum(each.size for each in self._untaken if each.client == client)
        if scope["method"] == "POST" and own > MAX_UNTAKEN:
            reason = f"{own:,} bytes of earlier answers have not been taken yet"
            await answer_error(BusyError(reason, RETRY_SECONDS), scope["path"])(scope, receive, send)
            return

        async def send_at_pace(message: Message) -> None:
            with self._held(_Answer(client, len(message.get("body", b"")), pace)):
                for piece in _pieces(message):
                    await pace.send(send, piece)

        await self._app(scope, receive, send_at_pace)

    @contextmanager
    def _held(self, answer: "_Answer") -> Iterator[None]:
        """Count an answer as untaken within the block, and give up others if all together are too much."""
        excess = answer.size + sum(each.size for each in self._untaken) - MAX_UNTAKEN_BY_ALL
        for each in sorted(self._untaken, key=_Answer.cost, reverse=True):
            if excess <= 0:
                break
            each.pace.give_up()
            excess -= each.size
        self._untaken.append(answer)
        try:
            yield
        finally:
            self._untaken.remove(answer)


class _Pace:
    """How far a client may still fall behind with its answer."""

    def __init__(self) -> None:
        self._left = float(PATIENCE)  # seconds
        self._sending = asyncio.timeout(None)  # of the piece that is being sent

    def give_up(self) -> None:
        """Let what is being sent end with TimeoutError."""
        if not self._sending.expired():
            self._sending.reschedule(asyncio.get_running_loop().time())

    async def send(self, send: Send, piece: Message) -> None:
        """Send a piece once those before it have been taken.

        Raises:
            TimeoutError: the client is too far behind.
        """
        loop = asyncio.get_running_loop()
        start = loop.time()
        async with asyncio.timeout(self._left) as self._sending:
            await send(piece)
        self._left = min(PATIENCE, self._left - (loop.time() - start) + len(piece.get("body", b"")) / PACE)


@dataclass(frozen=True, eq=False)
class _Answer:
    """A part of an answer that stays in memory until its client has taken it."""

    client: str
    size: int  # bytes
    pace: _Pace
    begun: float = field(default_factory=lambda: asyncio.get_running_loop().time())

    def cost(self) -> float:
        """Return for how much memory it has been there for how long, in bytes × seconds."""
        return self.size * (asyncio.get_running_loop().time() - self.begun)


def _pieces(message: Message) -> Iterator[Message]:
    """Yield a message as several, none of which has more than a piece of the body."""
    body = message.get("body", b"")
    if len(body) <= PIECE:
        yield message
        return
    for start in range(0, len(body), PIECE):
        end = start + PIECE
        yield {**message, "body": body[start:end], "more_body": end < len(body) or message.get("more_body", False)}
