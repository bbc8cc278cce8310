"""Work done in a thread before its result is asked for, such as decoding pictures while a model is busy."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def call_ahead(calls: Iterable[Callable[[], Result]], ahead: int = 16) -> Generator[Result, None, None]:
    """Yield the result of every call in order; a thread is up to ``ahead`` calls before the reader.

    An error in a call is raised where its result would be yielded.
    """
    pool = ThreadPoolExecutor(1)
    waiting: deque[Future[Result]] = deque()
    try:
        for call in calls:
            waiting.append(pool.submit(call))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
