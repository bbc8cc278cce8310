"""Held-out pairs share no image with the others, and are no more than their share."""

import networkx as nx
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.pairing.split import Components, held_out_pairs

PAIRS = st.lists(st.tuples(st.integers(0, 25), st.integers(0, 25)), max_size=30)


@given(pairs=PAIRS, share=st.floats(0, 1), seed=st.integers(0, 3))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_sides_share_no_image_and_keep_their_share(pairs, share, seed):
    sources, targets = [str(one) for one, _ in pairs], [str(other) for _, other in pairs]
    held_out = held_out_pairs(sources, targets, share, seed)
    assert len(held_out) == len(pairs)
    images = {side: set() for side in (True, False)}
    for source, target, side in zip(sources, targets, held_out, strict=True):
        images[side] |= {source, target}
    assert not images[True] & images[False]
    assert sum(held_out) <= share * len(pairs)


@given(pairs=PAIRS, share=st.floats(0, 1))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_no_component_that_would_still_fit_is_left(pairs, share):
    held_out = held_out_pairs([str(one) for one, _ in pairs], [str(other) for _, other in pairs], share, 0)
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
    wanted = held_out_pairs([f"{one:02d}" for one, _ in pairs], [f"{other:02d}" for _, other in pairs], share, 0)
    assert [(held_out[one], held_out[other]) for one, other in pairs] == [(each, each) for each in wanted]
    graph = nx.Graph(pairs)
    sizes = [sum(one in component for one, _ in pairs) for component in nx.connected_components(graph)]
    assert components.total() == sum(sizes) == len(pairs)
    assert not pairs or components.smallest() == min(sizes)


def test_share_is_met_where_pairs_are_single():
    sources, targets = [f"s{number}" for number in range(200)], [f"t{number}" for number in range(200)]
    assert sum(held_out_pairs(sources, targets, 0.25, 0)) == 50
    assert sum(held_out_pairs(sources, targets, 0.0, 0)) == 0
    assert sum(held_out_pairs(sources, targets, 1.0, 0)) == 200


def test_depends_on_the_seed_and_not_on_the_order():
    sources, targets = [f"s{number}" for number in range(50)], [f"t{number}" for number in range(50)]
    held_out = held_out_pairs(sources, targets, 0.3, 0)
    assert held_out_pairs(sources[::-1], targets[::-1], 0.3, 0) == held_out[::-1]
    assert held_out_pairs(sources, targets, 0.3, 1) != held_out


def test_a_long_chain_is_one_component():
    keys = [str(number) for number in range(11)]
    assert held_out_pairs(keys[:-1], keys[1:], 0.9, 0) == [False] * 10
    assert held_out_pairs(keys[:-1], keys[1:], 1.0, 0) == [True] * 10
