"""Connections: none is waited for whose request does not begin, and no client takes them all."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD = 60.0  # seconds that the head of a request may take
MAX_OF_CLIENT = 250  # connections of one address, unless it is a proxy's


class Connection(H11Protocol):
    """Uvicorn's connection by h11, which bounds the size of a request's head, with bounds of time and number."""

    _clock: asyncio.TimerHandle | None = None  # runs while a head is waited for

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or break it off if its client has too many."""
        super().connection_made(transport)
        if self._is_one_too_many():
            transport.abort()
        else:
            self._look_at_head()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        super().data_received(data)
        self._look_at_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection that has ended."""
        self._stop_clock()
        super().connection_lost(exc)

    def _is_one_too_many(self) -> bool:
        if self.client is None or self.config.proxy_headers:  # behind a proxy all have its address
            return False
        address, _ = self.client
        clients = (each.client for each in self.connections if isinstance(each, Connection))
        return sum(client is not None and client[0] == address for client in clients) > MAX_OF_CLIENT

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
