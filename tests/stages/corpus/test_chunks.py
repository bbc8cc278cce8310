"""Content-defined chunks: their sizes, and how few of them a change touches."""

import random
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from stages.corpus.chunks import chunked
from tests.support.strategies import quick


def digest(item: object) -> str:
    return sha256(str(item).encode()).hexdigest()


def chunks_of(items: list, most: int = 20) -> list[tuple]:
    return [tuple(chunk) for chunk in chunked(items, most, digest)]


@quick
@given(st.lists(st.integers(0, 50), max_size=200), st.integers(1, 30))
def test_chunks_hold_all_items_in_order_within_their_sizes(items, most):
    chunks = chunks_of(items, most)
    assert [item for chunk in chunks for item in chunk] == items
    assert all(most / 2 <= len(chunk) <= most for chunk in chunks[:-1])
    assert all(0 < len(chunk) <= most for chunk in chunks)


def test_a_change_touches_the_chunks_around_it():
    items, rng = list(range(3000)), random.Random(0)
    before = set(chunks_of(items))
    remade = []
    for number in range(200):
        place = rng.randrange(len(items))
        added = [*items[:place], f"new {number}", *items[place:]]
        removed = [*items[:place], *items[place + 1 :]]
        replaced = [*items[:place], f"new {number}", *items[place + 1 :]]
        remade += [len(set(chunks_of(changed)) - before) for changed in (added, removed, replaced)]
    assert sorted(remade)[len(remade) // 2] == 1
    assert sum(remade) / len(remade) < 1.5
    assert max(remade) < 10


def test_what_is_appended_touches_the_last_chunk_only():
    before = chunks_of(list(range(500)))
    for more in (1, 5, 60):
        after = chunks_of(list(range(500 + more)))
        assert after[: len(before) - 1] == before[:-1]
