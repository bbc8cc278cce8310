"""How much a request may bring, and how long it may take to come; bodies are bounded, each and all together."""

import asyncio

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request

from stages.common.only_uploads import UPLOAD
from stages.serving.answers import refuse
from stages.serving.security import App, Message, Receive, Scope, Send

MAX_BODY = 112 * 2**20  # bytes of a request: a picture and a mask of the largest size, and the fields
MAX_BODIES = 4 * MAX_BODY  # bytes of all requests that are not answered yet
MAX_PAGE = 6 * 2**20  # bytes of a call of the page, which is parsed on the event loop: a mask, and the settings
MAX_MARKS = 20_000  # commas and brackets of such a call: what parsing it costs goes with the number of its values
PAGE = "/gradio_api/"
CHARSETS = (b"utf-8", b"utf8")  # of forms
PATIENCE = 60  # seconds that a body may take


async def only_utf8(request: Request) -> None:
    """Check a request before its form is read; a dependency of routes.

    Starlette decodes a form as the request says. Some of Python's codecs raise what it does not expect, or take very long.

    Raises:
        HTTPException: the request names another encoding than UTF-8.
    """
    _, options = parse_options_header(request.headers.get("content-type"))
    if options.get(b"charset", CHARSETS[0]).lower() not in CHARSETS:
        raise HTTPException(400, "Content-Type: the charset of a form must be utf-8")


class BodyLimit:
    """An ASGI application around another one."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._bytes = 0  # of all requests that are not answered yet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        is_call = scope["path"].startswith(PAGE) and scope["path"] != UPLOAD
        most = MAX_PAGE if is_call else MAX_BODY
        if not length.isdecimal() or int(length) > most:
            answer = refuse(413, f"the request is larger than {most:,} bytes", scope["path"])
            await answer(scope, receive, send)
            return
        body = _Body(receive, most, MAX_MARKS if is_call else None)

        async def send_and_release(message: Message) -> None:
            self._release(body)  # what is answered has been read
            await send(message)

        try:
            await self._app(scope, lambda: self._receive(body), send_and_release)
        finally:
            self._release(body)

    def _release(self, body: "_Body") -> None:
        self._bytes -= body.held
        body.held = 0

    async def _receive(self, body: "_Body") -> Message:
        """Return the next message of a request.

        Raises:
            HTTPException: the body is too large, together with those of other requests too, has too many values, or is slow.
        """
        before = body.size
        message = await body.receive()
        body.held += body.size - before
        self._bytes += body.size - before
        if body.size > body.most:
            raise HTTPException(413, f"the request is larger than {body.most:,} bytes")
        if body.most_marks is not None and body.marks > body.most_marks:
            raise HTTPException(413, f"the request has more than {body.most_marks:,} commas and brackets")
        if self._bytes > MAX_BODIES:
            raise HTTPException(503, "the requests in flight are too large together", {"retry-after": "5"})
        return message


class _Body:
    """A body on its way in."""

    def __init__(self, receive: Receive, most: int, most_marks: int | None) -> None:
        self.most = most  # bytes allowed
        self.most_marks = most_marks  # commas and brackets allowed; None: they are not counted
        self.size = 0  # bytes received
        self.marks = 0  # commas and brackets in them
        self.held = 0  # bytes of them that count for all requests together
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
        content = message.get("body", b"")
        self.size += len(content)
        if self.most_marks is not None:
            self.marks += sum(content.count(mark) for mark in b",[{")
        self._is_complete = not message.get("more_body", False)
        return message
