"""Work that is done in one thread, for which clients take turns."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from weakref import WeakValueDictionary

Result = TypeVar("Result")


class Turns:
    """One thread that works for all clients, without keeping the event loop from its own work.

    However much one of them asks for, the others wait for one piece of that at a time.

    Args:
        name: the thread's name.
    """

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """Client → held while it has something in the thread's queue, so that it never has more than one thing there."""

    def prepare(self, work: Callable[..., object], *arguments: Any) -> None:
        """Have something done before the first client comes."""
        self._thread.submit(work, *arguments)

    async def run(self, client: str, work: Callable[..., Result], *arguments: Any) -> Result:
        """Return ``work(*arguments)``, done when the client's turn has come."""
        async with self._turns.setdefault(client, asyncio.Lock()):
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def stop(self) -> None:
        """Begin nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)
