"""How much a request may bring: its body is bounded, and so are the bodies of all requests together and the time they take."""

import asyncio

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from stages.serving.answers import refuse
from stages.serving.security import App, Message, Receive, Scope, Send

MAX_BODY = 112 * 2**20  # bytes of a request: a picture and a mask of the largest size, and the fields
MAX_BODIES = 4 * MAX_BODY  # bytes of all requests that are being answered
PATIENCE = 60  # seconds that a body may take


class BodyLimit:
    """An ASGI application around another one."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._bytes = 0  # of all requests that are being answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY:
            answer = refuse(413, f"the request is larger than {MAX_BODY:,} bytes", scope["path"])
            await answer(scope, receive, send)
            return
        body = _Body(receive)
        try:
            await self._app(scope, lambda: self._receive(body), send)
        finally:
            self._bytes -= body.size

    async def _receive(self, body: "_Body") -> Message:
        """Return the next message of a request.

        Raises:
            HTTPException: the body is too large, together with those of other requests too, or too slow.
        """
        before = body.size
        message = await body.receive()
        self._bytes += body.size - before
        if body.size > MAX_BODY:
            raise HTTPException(413, f"the request is larger than {MAX_BODY:,} bytes")
        if self._bytes > MAX_BODIES:
            raise HTTPException(503, "the requests in flight are too large together", {"retry-after": "5"})
        return message


class _Body:
    """A body on its way in."""

    def __init__(self, receive: Receive) -> None:
        self.size = 0  # bytes received
        self._receive = receive
        self._is_complete = False
        self._deadline = asyncio.get_running_loop().time() + PATIENCE

    async def receive(self) -> Message:
        """Return the next message; after the body is complete it may come at any time."""
        if self._is_complete:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError as error:
            raise HTTPException(408, f"the request has not come within {PATIENCE} seconds") from error
        self.size += len(message.get("body", b""))
        self._is_complete = not message.get("more_body", False)
        return message
