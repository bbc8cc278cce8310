"""Batches of one size for models: a sample's result must not depend on how many others are beside it."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

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
