"""Held-out pairs without a leak: no image of a held-out pair is in any training pair."""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from stages.common.seeds import derive_seed


def held_out_pairs(sources: Sequence[str], targets: Sequence[str], share: float, seed: int) -> list[bool]:
    """Return for each pair whether it is held out.

    Pairs that share an image, directly or through other pairs, form a component and stay together. Components are taken
    in random order, and held out if they still fit into ``share`` of all pairs. One that is too large goes to training,
    so fewer pairs than ``share`` may be held out, but never more.

    Args:
        sources: each pair's source key.
        targets: each pair's target key.
        share: in [0, 1].
        seed: decides the order; a component's place depends on the seed and its smallest key only.
    """
    keys = sorted({*sources, *targets})
    number = {key: place for place, key in enumerate(keys)}
    rows = np.array([number[key] for key in sources], dtype=np.int64)
    columns = np.array([number[key] for key in targets], dtype=np.int64)
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(keys), len(keys)))
    count, component_of = connected_components(graph, directed=False)
    component = component_of[rows]
    sizes = np.bincount(component, minlength=count)
    first_key = {int(part): key for key, part in reversed(list(zip(keys, component_of, strict=True)))}
    left = int(share * len(rows))
    chosen = set()
    for part in sorted(range(count), key=lambda part: derive_seed(seed, "held out", first_key[part])):
        if sizes[part] <= left:
            left -= int(sizes[part])
            chosen.add(part)
    return [int(part) in chosen for part in component]
