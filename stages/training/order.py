"""The order in which training draws its pairs. A pair more or less leaves the order of all others as it is.

In each pass a pair's rank is a number that depends only on the seed, the pass and the pair's key. A training that draws a part
of a large training set therefore draws nearly the same part after the set has grown: of 20,000 pairs drawn from 200,000, one
per cent more pairs replace about 200.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from stages.common.seeds import derive_seed

SPARE = 1_000_000  # ranks held beyond those that are drawn, before the highest are let go

Ranks = NDArray[np.int64]


def draw_ranks(keys: Iterable[str], seed: int, epoch: int) -> Ranks:
    """Return the rank of every key in a pass, (n,); the lowest is drawn first.

    Args:
        keys: the keys of pairs.
        seed: the seed of the training.
        epoch: the number of the pass.
    """
    return np.fromiter((derive_seed(seed, "order", epoch, key) for key in keys), np.int64)


def draw_order(count: int, ranks: Callable[[int], Ranks], first: int) -> Iterator[int]:
    """Yield row numbers without end, pass after pass, each in an order of its own.

    Args:
        count: the number of rows.
        ranks: returns the rank of every row in a pass, by its number.
        first: the number of the draw to begin with; draw k is the same row wherever one begins.
    """
    epoch, place = divmod(first, count)
    while True:
        for row in np.argsort(ranks(epoch), kind="stable")[place:]:
            yield int(row)
        epoch, place = epoch + 1, 0


def count_drawn(shards: Iterable[Iterable[str]], seed: int, total: int) -> list[int]:
    """Return how many rows of each shard are drawn; memory grows with the number of draws, not of rows.

    Args:
        shards: the keys of each shard.
        seed: the seed of the training.
        total: the number of draws.
    """
    ranks, places, count = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0
    for keys in shards:
        ranks.append(draw_ranks(keys, seed, 0))
        places.append(np.full(len(ranks[-1]), count))
        count += 1
        if sum(map(len, ranks)) > 2 * total + SPARE:
            ranks, places = _lowest(ranks, places, total)
    _, places = _lowest(ranks, places, total)
    drawn: list[int] = np.bincount(places[0], minlength=count).tolist()
    return drawn


def drawn_rows(keys: Iterable[str], seed: int, count: int) -> list[int]:
    """Return the numbers of the ``count`` rows of a shard that are drawn first, in their order in the shard."""
    rows: list[int] = np.sort(np.argsort(draw_ranks(keys, seed, 0), kind="stable")[:count]).tolist()
    return rows


def _lowest(ranks: list[Ranks], places: list[Ranks], total: int) -> tuple[list[Ranks], list[Ranks]]:
    """Return the ``total`` lowest ranks with their shards, as one part; of equal ranks the earlier come first."""
    together = np.concatenate(ranks)
    kept = np.sort(np.argsort(together, kind="stable")[:total])  # in the order of the rows
    return [together[kept]], [np.concatenate(places)[kept]]
