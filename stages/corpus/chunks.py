"""Content-defined chunks of a list: what is added, removed or replaced changes the chunk around it and no other.

A chunk ends before the item of the lowest value within reach, as in local-minimum chunking (Bjørner et al., 2010), so
where chunks end depends on the items nearby, not on how many stand before them.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def chunked(items: Iterable[Item], most: int, value_of: Callable[[Item], str]) -> Iterator[list[Item]]:
    """Yield lists of ``most / 2`` to ``most`` items, the last of which may be shorter; ``value_of`` should be a digest."""
    waiting: list[Item] = []
    values: list[str] = []
    least = (most + 1) // 2
    for item in items:
        waiting.append(item)
        values.append(value_of(item))
        if len(waiting) > most:
            end = min(range(least, most + 1), key=values.__getitem__)
            yield waiting[:end]
            waiting, values = waiting[end:], values[end:]
    if waiting:
        yield waiting
