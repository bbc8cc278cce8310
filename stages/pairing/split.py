"""Held-out pairs without a leak: no image of a held-out pair is in any training pair."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from stages.common.seeds import derive_seed

Rows = NDArray[np.int64]  # (n,)


def held_out_pairs(sources: Sequence[str], targets: Sequence[str], share: float, seed: int) -> list[bool]:
    """Return for each pair whether it is held out; see :func:`held_out_rows`.

    Args:
        sources: each pair's source key.
        targets: each pair's target key.
        share: in [0, 1].
        seed: decides the order; a component's place depends on the seed and its smallest key only.
    """
    keys, rows = np.unique(np.array([*sources, *targets], dtype=str), return_inverse=True)
    held_out = held_out_rows(rows[: len(sources)], rows[len(sources) :], share, seed, lambda rows: keys[rows].tolist())
    return [bool(each) for each in held_out]


def held_out_rows(
    sources: Rows, targets: Rows, share: float, seed: int, keys_of: Callable[[Rows], Sequence[str]]
) -> NDArray[np.bool_]:
    """Return for each pair whether it is held out.

    Pairs that share an image, directly or through other pairs, form a component and stay together. Components are taken
    in random order, and held out if they still fit into ``share`` of all pairs. One that is too large goes to training,
    so fewer pairs than ``share`` may be held out, but never more.

    Args:
        sources: each pair's source image, as a row of the corpus.
        targets: each pair's target image.
        share: in [0, 1].
        seed: decides the order; a component's place depends on the seed and the key of its first image only.
        keys_of: returns the keys of rows.
    """
    component, first_rows = _components(sources, targets)
    sizes = np.bincount(component, minlength=len(first_rows)).tolist()
    draws = [derive_seed(seed, "held out", key) for key in keys_of(first_rows)]
    left = int(share * len(sources))
    chosen = np.zeros(len(sizes), np.bool_)
    for part in np.argsort(np.array(draws, np.int64)).tolist():
        if sizes[part] <= left:
            left -= sizes[part]
            chosen[part] = True
    return chosen[component]


def smallest_component(sources: Rows, targets: Rows) -> int:
    """Return the number of pairs in the smallest component; there must be a pair."""
    return int(np.bincount(_components(sources, targets)[0]).min())


def _components(sources: Rows, targets: Rows) -> tuple[Rows, Rows]:
    """Return each pair's component, numbered from 0, and each component's first image."""
    rows, places = np.unique(np.concatenate([sources, targets]), return_inverse=True)
    edges = places[: len(sources)], places[len(sources) :]
    graph = coo_array((np.ones(len(sources), np.int8), edges), shape=(len(rows), len(rows)))
    _, component_of = connected_components(graph, directed=False)
    _, firsts = np.unique(component_of, return_index=True)
    return component_of[edges[0]], rows[firsts]
