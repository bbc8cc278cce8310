"""Connections: none is waited for whose request does not begin, no client takes them all, and there is a bound for all."""

import asyncio

import h11
from starlette.datastructures import MutableHeaders
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.h11_impl import H11Protocol

from stages.serving.answers import refuse
from stages.serving.clients import client_at
from stages.serving.security import HEADERS, OPEN_PATHS, App, Message, Receive, Scope, Send

HEAD = 60.0  # seconds that the head of a request may take
MAX_CONNECTIONS = 1000  # requests on further ones are refused, but for those of what watches the service
MAX_OF_CLIENT = 250  # connections of one client, unless it is a proxy
RETRY_SECONDS = 5
EXTRA = "is_extra_connection"  # in the state of a request that comes on one that is beyond all that are allowed


class Connection(H11Protocol):
    """Uvicorn's connection by h11, which bounds the size of a request's head, with bounds of time and number."""

    _clock: asyncio.TimerHandle | None = None  # runs while a head is waited for
    _owner: str | None = None  # the client; None for a proxy, whose clients all have its address

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or break it off if its client has too many."""
        super().connection_made(transport)
        if self.client is not None and not self._is_proxy(self.client[0]):
            self._owner = client_at(self.client[0])
        if self._is_one_too_many():
            transport.abort()
            return
        if len(self.connections) > MAX_CONNECTIONS:
            self.app_state = self.app_state | {EXTRA: True}
        self._look_at_head()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        super().data_received(data)
        self._look_at_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection that has ended."""
        self._stop_clock()
        super().connection_lost(exc)

    def _is_proxy(self, address: str) -> bool:
        """Return whether what an address says of its clients is believed."""
        believed = self.config.loaded_app
        return isinstance(believed, ProxyHeadersMiddleware) and address in believed.trusted_hosts

    def _is_one_too_many(self) -> bool:
        if self._owner is None:
            return False
        owners = (each._owner for each in self.connections if isinstance(each, Connection))
        return sum(owner == self._owner for owner in owners) > MAX_OF_CLIENT

    def _look_at_head(self) -> None:
        """Start the clock when the head of a request begins, and stop it when it has come."""
        if self.conn.their_state is not h11.IDLE:
            self._stop_clock()
        elif self._clock is None:
            self._clock = self.loop.call_later(HEAD, self.transport.close)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None


class ConnectionLimit:
    """An ASGI application around another one: refuses what comes on a connection that is one too many, and closes that."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or EXTRA not in scope.get("state", ()):
            await self._app(scope, receive, send)
            return

        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        if scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send_and_close)
            return

        answer = refuse(503, f"the service has {MAX_CONNECTIONS:,} connections already", scope["path"])
        answer.headers.update({**HEADERS, "retry-after": str(RETRY_SECONDS)})
        await answer(scope, receive, send_and_close)
