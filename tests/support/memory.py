"""Memory that a piece of work takes, measured so that what else happens in the process does not count."""

import gc
import tracemalloc
from collections.abc import Callable

ROUNDS = 3


def least_peak(work: Callable[[], object]) -> int:
    """Return the most bytes that Python's allocators held for ``work`` at once: the least of some rounds.

    Some rounds, because a table of the interpreter (such as that of all interned strings, megabytes large) that happens to
    grow meanwhile, or another thread, counts too. A first call fills the caches and is not measured.
    """
    work()
    peaks = []
    for _ in range(ROUNDS):
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            work()
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
        finally:
            tracemalloc.stop()
    return min(peaks)
