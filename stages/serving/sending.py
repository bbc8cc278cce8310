"""How answers are sent: in pieces, at a pace that the client must keep.

What a client has not taken stays in memory. So an answer that is taken too slowly is given up, a client with much of it may
not ask for more meanwhile, and nobody may while all clients together have too much.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator

from starlette.requests import Request

from stages.serving.answers import answer_error
from stages.serving.calls import BusyError
from stages.serving.clients import name_of
from stages.serving.security import App, Message, Receive, Scope, Send

PIECE = 256 * 2**10  # bytes of an answer that may wait in the buffer of a connection
PACE = 64 * 2**10  # bytes that a client must take in a second
PATIENCE = 60  # seconds that it may be behind
MAX_UNTAKEN = 256 * 2**20  # bytes that it may not have taken when it asks for more
MAX_UNTAKEN_BY_ALL = 4 * MAX_UNTAKEN
RETRY_SECONDS = 5


class AnswerLimit:
    """An ASGI application around another one."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._untaken: Counter[str] = Counter()  # client → bytes of its answers that are in memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Raises:
            TimeoutError: the client does not take its answer.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client, pace = name_of(Request(scope)), _Pace()
        own, of_all = self._untaken[client], self._untaken.total()
        if scope["method"] == "POST" and (own > MAX_UNTAKEN or of_all > MAX_UNTAKEN_BY_ALL):
            reason = f"{own:,} bytes of earlier answers, {of_all:,} of all clients', have not been taken yet"
            await answer_error(BusyError(reason, RETRY_SECONDS), scope["path"])(scope, receive, send)
            return

        async def send_at_pace(message: Message) -> None:
            held = Counter({client: len(message.get("body", b""))})
            self._untaken += held
            try:
                for piece in _pieces(message):
                    await pace.send(send, piece)
            finally:
                self._untaken -= held

        await self._app(scope, receive, send_at_pace)


class _Pace:
    """How far a client may still fall behind with its answer."""

    def __init__(self) -> None:
        self._left = float(PATIENCE)  # seconds

    async def send(self, send: Send, piece: Message) -> None:
        """Send a piece once those before it have been taken.

        Raises:
            TimeoutError: the client is too far behind.
        """
        loop = asyncio.get_running_loop()
        start = loop.time()
        async with asyncio.timeout(self._left):
            await send(piece)
        self._left = min(PATIENCE, self._left - (loop.time() - start) + len(piece.get("body", b"")) / PACE)


def _pieces(message: Message) -> Iterator[Message]:
    """Yield a message as several, none of which has more than a piece of the body."""
    body = message.get("body", b"")
    if len(body) <= PIECE:
        yield message
        return
    for start in range(0, len(body), PIECE):
        end = start + PIECE
        yield {**message, "body": body[start:end], "more_body": end < len(body) or message.get("more_body", False)}
