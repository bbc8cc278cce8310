"""Gives up calls whose visitor left at once.

The answers of a call come over a stream that the page opens after the call. Gradio gives up calls when that stream ends; one
whose stream is never opened it would finish, and keep the answers.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import gradio as gr
from fastapi import Request

JOIN, STREAM = "/gradio_api/queue/join", "/gradio_api/queue/data"
SECONDS = 30  # from a call until the stream of its session must be open


class AbandonedCalls:
    """A dependency of Gradio's routes, after those that check what a request says."""

    def __init__(self) -> None:
        self._streams: Counter[str] = Counter()  # session → its open streams
        self._looks: dict[str, asyncio.Task[None]] = {}  # session → a look at its streams, some time after its last call

    async def __call__(self, request: Request) -> AsyncIterator[None]:
        """Note an open stream for as long as it lasts, and look for one some time after a call."""
        if request.scope["path"] == STREAM:
            with self._open(request.query_params.get("session_hash", "")):
                yield
            return
        yield
        if request.scope["path"] == JOIN:
            session = (await request.json())["session_hash"]
            if session in self._looks:
                self._looks[session].cancel()
            self._looks[session] = asyncio.create_task(self._look(session, request.app.get_blocks()))

    @contextmanager
    def _open(self, session: str) -> Iterator[None]:
        """Note an open stream of a session within the block."""
        self._streams[session] += 1
        try:
            yield
        finally:
            self._streams -= Counter([session])

    async def _look(self, session: str, page: gr.Blocks) -> None:
        """Give up the calls of a session once it should have a stream and has none."""
        await asyncio.sleep(SECONDS)
        del self._looks[session]
        if self._streams[session]:
            return
        queue = page._queue  # has no public name
        await queue.clean_events(session_hash=session)
        queue.pending_event_ids_session.pop(session, None)
        if session in queue.pending_messages_per_session:
            del queue.pending_messages_per_session[session]
