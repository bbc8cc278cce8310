"""Held-out pairs without a leak: no image of a held-out pair is in any training pair."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from stages.common.seeds import derive_seed
from stages.corpus.shard import shard_of

BLOCK = 4096  # components whose keys are in memory at a time

Rows = NDArray[np.int64]  # (n,)


class Components:
    """Images that pairs join, directly or through others; each component is known by its first image.

    Pairs come part by part, and memory does not grow with them: it is 16 bytes an image, and up to 60 in :meth:`hold_out`.
    """

    def __init__(self, images: int) -> None:
        """Start with ``images`` images, which no pair joins."""
        self._earlier = np.arange(images)  # an image of the same component, or the image itself if it is the first
        self._pairs = np.zeros(images, np.int64)  # of a component, at its first image

    def join(self, sources: Rows, targets: Rows) -> None:
        """Take in pairs of images, by their rows."""
        if not len(sources):
            return
        from scipy.sparse import coo_array  # takes a fifth of a second to import
        from scipy.sparse.csgraph import connected_components

        sides = self._firsts(np.concatenate([sources, targets]))
        rows, places = np.unique(sides, return_inverse=True)
        edges = places[: len(sources)], places[len(sources) :]
        graph = coo_array((np.ones(len(sources), np.int8), edges), shape=(len(rows), len(rows)))
        _, component_of = connected_components(graph, directed=False)
        _, first = np.unique(component_of, return_index=True)
        pairs = np.bincount(component_of[edges[0]], minlength=len(first))
        np.add.at(pairs, component_of, self._pairs[rows])
        self._earlier[rows], self._pairs[rows] = rows[first][component_of], 0
        self._pairs[rows[first]] = pairs

    def total(self) -> int:
        """Return the number of all pairs."""
        return int(self._pairs.sum())

    def hold_out(self, share: float, seed: int, keys_of: Callable[[Rows], Sequence[str]]) -> NDArray[np.bool_]:
        """Return for each image whether its pairs are held out.

        Components are taken in random order, and held out if they still fit into ``share`` of all pairs. One that is too
        large goes to training, so fewer pairs than ``share`` may be held out, but never more.

        Args:
            share: in [0, 1].
            seed: decides the order; a component's place depends on the seed and the key of its first image only.
            keys_of: returns the keys of rows.
        """
        firsts = np.flatnonzero(self._pairs)
        draws = np.fromiter(_draws(firsts, seed, keys_of), np.int64, len(firsts))
        left = int(share * self.total())
        held_out = np.zeros(len(self._earlier), np.bool_)
        for first in firsts[np.argsort(draws)]:
            if self._pairs[first] <= left:
                left -= int(self._pairs[first])
                held_out[first] = True
        return held_out[self._firsts(np.arange(len(held_out)))]

    def _firsts(self, rows: Rows) -> Rows:
        """Return the first image of the component of each of ``rows``, and remember it."""
        found = self._earlier[rows]
        while not np.array_equal(earlier := self._earlier[found], found):
            self._earlier[found] = found = self._earlier[earlier]  # halves the way, so that long chains take few rounds
        self._earlier[rows] = found
        return found


def _draws(rows: Rows, seed: int, keys_of: Callable[[Rows], Sequence[str]]) -> Iterator[int]:
    for start in range(0, len(rows), BLOCK):
        yield from (derive_seed(seed, "held out", key) for key in keys_of(rows[start : start + BLOCK]))


def held_out_pairs(keys: NDArray[np.bytes_], share: float, seed: int) -> NDArray[np.bool_]:
    """Return for each pair, (n,), whether it is held out; see :meth:`Components.hold_out`.

    Args:
        keys: of each pair's source and target, in UTF-8, (n, 2).
        share: in [0, 1].
        seed: decides the order; a component's place depends on the seed and its smallest key only.
    """
    images, rows = np.unique(keys, return_inverse=True)
    components = Components(len(images))
    components.join(rows[:, 0], rows[:, 1])
    held_out = components.hold_out(share, seed, lambda firsts: [key.decode() for key in images[firsts].tolist()])
    return held_out[rows[:, 0]]


def least_share(pairs: Sequence[tuple[str, str]], usable: NDArray[np.bool_], seed: int) -> float | None:
    """Return the least share, in hundredths, that holds out a usable pair and leaves another to train on; None if none does.

    Args:
        pairs: the n pairs that the stage retrieve divides, as the keys of source and target.
        usable: which pairs have usable masks, (n,).
        seed: by which that stage divides them, see :meth:`Components.hold_out`.
    """
    images = sorted({key for pair in pairs for key in pair}, key=_place)
    row_of = {key: row for row, key in enumerate(images)}
    rows = np.array([[row_of[key] for key in pair] for pair in pairs], np.int64).reshape(-1, 2)
    components = Components(len(images))
    components.join(rows[:, 0], rows[:, 1])
    for share in (hundredths / 100 for hundredths in range(1, 100)):
        held_out = components.hold_out(share, seed, lambda firsts: [images[first] for first in firsts])[rows[:, 0]]
        if (usable & held_out).any() and (usable & ~held_out).any():
            return share
    return None


def _place(key: str) -> tuple[str, str]:
    """Return what sorts keys as the stage retrieve counts images: by the names of the shards' files, 1.tar before 10.tar."""
    return f"{shard_of(key)}.", key
