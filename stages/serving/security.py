"""Who may ask: only pages of the service itself, under its own name, and elsewhere than on this machine only with the key.

A page of another site that makes the browser of this machine send requests is refused by its ``Origin``, and one whose name was
made to point at this machine (DNS rebinding) by the ``Host``.
"""

import base64
import binascii
import hashlib
import hmac
import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders

from stages.common.same_origin import why_foreign
from stages.core.errors import InputError
from stages.serving.answers import refuse

KEY_VARIABLE = "IEDIT_API_KEY"
LEAST_KEY = 16  # characters
OPEN_PATHS = ("/health", "/ready")  # for what watches the service; they answer one word
WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - addresses that a user may bind to
HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline';"
        " img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:;"
        " worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), clipboard-read=(self), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""Of every answer. Gradio's page needs scripts and styles inside of it; nothing may come from elsewhere."""

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Access:
    """Where the service listens, and the key that it asks for."""

    host: str
    key: str | None = None

    def __post_init__(self) -> None:
        """Raise InputError if a key is needed and missing, or short enough to be guessed."""
        if self.key is None and not is_loopback(self.host):
            raise InputError(f"host = {self.host!r}: other machines could connect, so {KEY_VARIABLE} must hold a key")
        if self.key is not None and len(self.key) < LEAST_KEY:
            raise InputError(f"{KEY_VARIABLE}: has {len(self.key)} characters, must have at least {LEAST_KEY}")

    def allows_host(self, name: str | None) -> bool:
        """Return whether the service is known by a name; at all addresses by any, because there the key protects it."""
        return name is not None and (self.host in WILDCARDS or name == self.host.lower() or is_loopback(name))

    def allows_key(self, authorization: str) -> bool:
        """Return whether a header ``Authorization`` has the key: as a bearer, or as the password of a browser's dialog."""
        if self.key is None:
            return True
        kind, _, given = authorization.partition(" ")
        if kind.lower() == "basic":
            given = _password(given)
        elif kind.lower() != "bearer":
            return False
        return hmac.compare_digest(_digest(given.strip()), _digest(self.key))


class Gate:
    """An ASGI application around another one: refuses what may not ask, and gives every answer its headers."""

    def __init__(self, app: App, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "websocket":  # nothing here speaks it
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send_with_headers)
            return
        status, reason = refusal
        answer = refuse(status, reason, scope["path"])
        if status == 401:
            answer.headers["www-authenticate"] = 'Basic realm="iedit", charset="UTF-8"'
        await answer(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Return why a request may not ask, as a status and a line; None if it may."""
        headers = Headers(scope=scope)
        if not self._access.allows_host(_name(headers.get("host", ""))):
            return 421, "Host: the service is not known by this name"
        if (reason := why_foreign(scope["method"], headers)) is not None:
            return 403, reason
        if scope["path"] not in OPEN_PATHS and not self._access.allows_key(headers.get("authorization", "")):
            return 401, "Authorization: the key is missing or wrong"
        return None


def is_loopback(name: str) -> bool:
    """Return whether a name or address is this machine's own, which no other machine can connect to."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name.lower() == "localhost"


def _name(host: str) -> str | None:
    """Return the name in a header ``Host``, without the port; None if it has none."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # raises ValueError for what is no port
    except ValueError:
        return None
    return parts.hostname if parts.netloc == host and "@" not in host else None


def _password(given: str) -> str:
    try:
        return base64.b64decode(given, validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()  # of one length, whatever was given
