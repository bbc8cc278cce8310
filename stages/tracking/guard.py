"""What stands before MLflow's scoring server, and mends what that server answers to requests that are not its own.

It takes JSON only, answers every mistake in one line without stack traces or paths, and signals the editor when a client has
gone. MLflow's server alone answers some mistakes with a traceback, and others (no content type, JSON that is nested too
deeply) with status 500; it does not notice that a client has gone.
"""

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from threading import Event
from typing import Any

from stages.core.errors import first_line, shorten
from stages.tracking.deadline import GIVEN_UP

PATH = "/invocations"
MAX_BODY = 256 * 2**20  # bytes of a request, which is held in memory
JSON = "application/json"
CHECKS = "mlflow.models.utils"  # logs the names of all columns and parameters that the model does not have
JSON_IN_UTF8 = re.compile(rf'{JSON}\s*(;\s*(charset=("?)utf-8\3)?)?', re.IGNORECASE)
REQUEST_IN_MESSAGE = re.compile(
    r"\A(Failed to predict data '.*'\. \nError: )?(Failed to enforce schema of data '.*\. Error: )?", re.DOTALL
)
"""What MLflow's server puts before a reason: the request as it understood it, over lines."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class RefusedError(Exception):
    """A request is refused with a status and a line."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Guard:
    """An ASGI application around MLflow's."""

    def __init__(self, app: App) -> None:
        self._app = app
        logging.getLogger(CHECKS).addFilter(_cut_record)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] != PATH:
            await self._app(scope, receive, send)
            return
        try:
            scope = _with_json_type(scope)
            body = await _read(receive)
            await asyncio.to_thread(_check_json, body)
        except RefusedError as refusal:
            await _answer(send, refusal.status, _in_a_line("INVALID_PARAMETER_VALUE", str(refusal)))
            return
        messages = await self._ask(scope, body, receive)
        status = int(messages[0]["status"]) if messages else 500
        content = b"".join(message.get("body", b"") for message in messages[1:])
        await _answer(send, status, content if status < 400 else _mended(content))

    async def _ask(self, scope: MutableMapping[str, Any], body: bytes, receive: Receive) -> list[Message]:
        """Return the application's answer to a request; nobody reads it if the client has gone meanwhile."""
        given_up, gone = Event(), asyncio.Event()
        GIVEN_UP.set(given_up)
        messages: list[Message] = []
        waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            given_up.set()
            gone.set()

        async def give() -> Message:
            if waiting:
                return waiting.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def take(message: Message) -> None:
            messages.append(message)

        watching = asyncio.create_task(watch())
        try:
            await self._app(scope, give, take)
        except Exception:  # the application has answered 500 before, and its traceback belongs into the log
            logging.getLogger(__name__).exception("a request failed")
        finally:
            given_up.set()  # also after an answer of 504, when the editor is still at work
            watching.cancel()
        return messages


def _cut_record(record: logging.LogRecord) -> bool:
    """Cut a record of a log to a line, so that no request fills the log; let it pass."""
    record.msg, record.args = first_line(record.getMessage()), ()
    return True


def _with_json_type(scope: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return a request that says plainly that it is JSON: MLflow's server knows no capitals or quotes in a type.

    Raises:
        RefusedError: it does not say that it is JSON in UTF-8.
    """
    given = dict(scope["headers"]).get(b"content-type", b"").decode("latin-1")
    if not JSON_IN_UTF8.fullmatch(given.strip()):
        raise RefusedError(415, f"Content-Type = {shorten(given)}: must be {JSON}")
    others = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
    return {**scope, "headers": [*others, (b"content-type", JSON.encode())]}


async def _read(receive: Receive) -> bytes:
    """Return the body of a request.

    Raises:
        RefusedError: it is larger than MAX_BODY.
    """
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise RefusedError(413, f"the request is larger than {MAX_BODY:,} bytes")
        if not message.get("more_body", False):
            return bytes(body)


def _check_json(body: bytes) -> None:
    """Raise RefusedError unless the body is a JSON object."""
    try:
        content = json.loads(body)
    except RecursionError as error:
        raise RefusedError(400, "the request is JSON that is nested too deeply") from error
    except ValueError as error:
        raise RefusedError(400, f"the request is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise RefusedError(400, f"the request must be a JSON object, is {shorten(content)}")


def _mended(content: bytes) -> bytes:
    """Return an answer of MLflow's server that reports an error, in one line, without the request and without a traceback."""
    try:
        found = json.loads(content)
        code, message = str(found["error_code"]), str(found["message"])
    except (ValueError, LookupError, TypeError):
        code, message = "INTERNAL_ERROR", content.decode("utf-8", "replace")
    return _in_a_line(code, REQUEST_IN_MESSAGE.sub("", message) or "the request failed; see the log")


def _in_a_line(code: str, message: str) -> bytes:
    return json.dumps({"error_code": code, "message": first_line(message)}, ensure_ascii=False).encode()


async def _answer(send: Send, status: int, content: bytes) -> None:
    headers = [(b"content-type", JSON.encode()), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
