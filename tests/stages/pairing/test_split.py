"""Held-out pairs share no image with the others, and are no more than their share."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.corpus.shard import key_of
from stages.pairing.split import Components, held_out_pairs, least_share

PAIRS = st.lists(st.tuples(st.integers(0, 25), st.integers(0, 25)), max_size=30)


def hold_out(pairs: Sequence[tuple[object, object]], share: float, seed: int = 0) -> list[bool]:
    keys = np.array([[str(key).encode() for key in pair] for pair in pairs], np.bytes_).reshape(-1, 2)
    return held_out_pairs(keys, share, seed).tolist()


@given(pairs=PAIRS, share=st.floats(0, 1), seed=st.integers(0, 3))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_sides_share_no_image_and_keep_their_share(pairs, share, seed):
    held_out = hold_out(pairs, share, seed)
    assert len(held_out) == len(pairs)
    images = {side: set() for side in (True, False)}
    for pair, side in zip(pairs, held_out, strict=True):
        images[side] |= {*pair}
    assert not images[True] & images[False]
    assert sum(held_out) <= share * len(pairs)


@given(pairs=PAIRS, share=st.floats(0, 1))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_no_component_that_would_still_fit_is_left(pairs, share):
    held_out = hold_out(pairs, share)
    graph = nx.Graph(pairs)
    left = int(share * len(pairs)) - sum(held_out)
    for component in nx.connected_components(graph):
        sides = [side for pair, side in zip(pairs, held_out, strict=True) if pair[0] in component]
        assert len(set(sides)) == 1
        assert sides[0] or len(sides) > left


@given(pairs=PAIRS, cut=st.integers(0, 30), share=st.floats(0, 1))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_pairs_may_come_in_parts(pairs, cut, share):
    components = Components(26)
    for part in (pairs[:cut], pairs[cut:]):
        sources, targets = np.array(part, np.int64).reshape(-1, 2).T
        components.join(sources, targets)
    held_out = components.hold_out(share, 0, lambda rows: [f"{row:02d}" for row in rows])
    wanted = hold_out([(f"{one:02d}", f"{other:02d}") for one, other in pairs], share)
    assert [(held_out[one], held_out[other]) for one, other in pairs] == [(each, each) for each in wanted]
    assert components.total() == len(pairs)


def test_share_is_met_where_pairs_are_single():
    pairs = [(f"s{number}", f"t{number}") for number in range(200)]
    for share in (0.25, 0.0, 1.0):
        assert sum(hold_out(pairs, share)) == 200 * share


def test_depends_on_the_seed_and_not_on_the_order():
    pairs = [(f"s{number}", f"t{number}") for number in range(50)]
    assert hold_out(pairs[::-1], 0.3) == hold_out(pairs, 0.3)[::-1]
    assert hold_out(pairs, 0.3, seed=1) != hold_out(pairs, 0.3)


def test_a_long_chain_is_one_component():
    pairs = list(pairwise(range(11)))
    assert hold_out(pairs, 0.9) == [False] * 10
    assert hold_out(pairs, 1.0) == [True] * 10


def test_a_chain_of_merges_is_followed_in_few_rounds():
    """Each pair joins what came before it to an earlier image, so that the way from the last image to the first is longest."""

    class Counted(np.ndarray):
        reads = 0

        def __getitem__(self, rows):
            Counted.reads += 1
            return np.asarray(self)[rows]

    components = Components(1025)
    for image in range(1023, -1, -1):
        components.join(np.array([image]), np.array([image + 1]))
    components._earlier = components._earlier.view(Counted)
    assert components.hold_out(1.0, 0, lambda rows: [str(row) for row in rows]).all()
    assert 0 < Counted.reads < 50  # link by link it would be a thousand


def test_keys_of_other_scripts_are_keys():
    assert hold_out([("ä", "ö"), ("ö", "ü"), ("a", "b")], 0.5) == [False, False, True]


@given(pairs=PAIRS, usable=st.lists(st.booleans(), min_size=30, max_size=30))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_the_least_share_gives_usable_pairs_to_both_sides(pairs, usable):
    usable = usable[: len(pairs)]

    def sides(share: float) -> set[bool]:
        return {side for side, counts in zip(hold_out(pairs, share), usable, strict=True) if counts}

    found = least_share([(str(one), str(other)) for one, other in pairs], np.array(usable, np.bool_), seed=0)
    tried = [hundredths / 100 for hundredths in range(1, 100)]
    assert found == next((share for share in tried if len(sides(share)) == 2), None)


@pytest.mark.parametrize("seed", range(1, 5))
def test_the_least_share_counts_images_as_their_shards_are_listed(seed):
    """Where numbers of shards are not padded, keys sort otherwise; the order of single pairs decides which are held out."""
    shards = sorted(Path(f"{shard}.parquet") for shard in ("1", "10", "1-a"))
    images = [key_of(path.stem, place) for path in shards for place in range(5, 45)]
    assert images != sorted(images)
    sources = np.arange(40, 80)
    components = Components(len(images))
    components.join(sources, sources + 40)
    usable = np.arange(40) < 2

    def sides(share: float) -> set[bool]:
        held_out = components.hold_out(share, seed, lambda rows: [images[row] for row in rows])[sources]
        return set(held_out[usable].tolist())

    found = least_share([(images[source], images[source + 40]) for source in sources], usable, seed)
    tried = [hundredths / 100 for hundredths in range(1, 100)]
    assert found == next(share for share in tried if len(sides(share)) == 2)
