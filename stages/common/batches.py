"""Batches for models: of one size, because a sample's result must not depend on the others, and prepared beside the model."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar, cast

Item = TypeVar("Item")


def padded_batches(items: Iterable[Item], size: int) -> Iterator[tuple[list[Item], int]]:
    """Yield (batch, count): lists of exactly ``size`` items, of which the first ``count`` are from ``items``.

    The last batch is filled by repeating its last item. Matrix products of another shape may round differently, so results
    of a part of a batch would differ in the last digits.
    """
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        count = len(part)
        yield part + part[-1:] * (size - count), count


def ahead(items: Iterable[Item], depth: int = 2) -> Iterator[Item]:
    """Yield the items, up to ``depth`` of which a thread has prepared meanwhile; its errors come where their items would."""
    iterator, end = iter(items), object()
    thread = ThreadPoolExecutor(1)
    try:
        waiting: deque[Future[Item | object]] = deque(thread.submit(next, iterator, end) for _ in range(depth))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(thread.submit(next, iterator, end))
            yield cast(Item, item)
    finally:
        thread.shutdown(cancel_futures=True)
