"""The order of the draws: every pass has every row, and a larger training set hardly changes it."""

from functools import partial
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.training import order
from stages.training.order import count_drawn, draw_order, draw_ranks, drawn_rows


def keys(count: int, prefix: str = "shard") -> list[str]:
    return [f"{prefix}{number:04d}" for number in range(count)]


def drawn(names: list[str], count: int, seed: int = 0, first: int = 0) -> list[int]:
    return list(islice(draw_order(len(names), partial(draw_ranks, names, seed), first), count))


def test_every_pass_has_every_row_once_in_its_own_order():
    rows = drawn(keys(13), 52)
    passes = [rows[start : start + 13] for start in range(0, 52, 13)]
    assert all(sorted(each) == list(range(13)) for each in passes)
    assert len({tuple(each) for each in passes}) == 4


@pytest.mark.parametrize("first", [1, 12, 13, 14, 40])
def test_order_can_start_anywhere(first):
    assert drawn(keys(13), 30, first=first) == drawn(keys(13), first + 30)[first:]


def test_order_depends_on_the_seed():
    assert len({tuple(drawn(keys(100), 100, seed)) for seed in range(3)}) == 3


def test_order_does_not_depend_on_where_the_rows_stand():
    names = keys(50)
    mixed = [names[place] for place in np.random.default_rng(0).permutation(50)]
    assert [names[row] for row in drawn(names, 150)] == [mixed[row] for row in drawn(mixed, 150)]


def test_more_rows_leave_the_order_of_the_others():
    """One per cent more rows replace about one per cent of those that are drawn, and move none of the others past another."""
    names, more = keys(5000), keys(50, "added")
    before = [names[row] for row in drawn(names, 1000)]
    after = [(names + more)[row] for row in drawn(names + more, 1000)]
    kept = [key for key in after if key in set(before)]
    assert kept == before[: len(kept)]
    assert 985 <= len(kept) < 1000  # 10 are expected to go; 25 would be five standard deviations


def test_a_removed_row_is_all_that_goes():
    names = keys(200)
    gone = names[drawn(names, 1)[0]]
    left = [key for key in names if key != gone]
    assert [left[row] for row in drawn(left, 199)] == [names[row] for row in drawn(names, 200)][1:]


def test_ranks_spread_evenly():
    """Each of ten parts of the keys has its share of the first tenth of the draws."""
    rows = np.array(drawn(keys(20_000), 2000))
    counts = np.bincount(rows // 2000, minlength=10)
    assert ((counts - 200) ** 2 / 200).sum() < 33  # chi-squared with 9 degrees of freedom: p < 1e-4 above


@given(st.lists(st.integers(0, 30), min_size=1, max_size=6), st.integers(1, 120), st.integers(0, 3))
def test_drawn_rows_are_those_of_the_order(sizes, total, seed):
    shards = [keys(size, f"s{number}-") for number, size in enumerate(sizes)]
    names = [key for shard in shards for key in shard]
    counts = count_drawn(shards, seed, total)
    found = {shard[row] for shard, count in zip(shards, counts, strict=True) for row in drawn_rows(shard, seed, count)}
    assert sum(counts) == min(total, len(names))
    if names:
        assert found == {names[row] for row in drawn(names, total, seed)}


def test_counting_holds_no_more_ranks_than_are_drawn(monkeypatch):
    """Ranks are let go on the way, and the result is the same."""
    shards = [keys(100, f"s{number}-") for number in range(50)]
    wanted = count_drawn(shards, 0, 300)
    held = []
    real = order._lowest
    monkeypatch.setattr(order, "SPARE", 100)
    monkeypatch.setattr(order, "_lowest", lambda ranks, *rest: held.append(sum(map(len, ranks))) or real(ranks, *rest))
    assert count_drawn(iter(shards), 0, 300) == wanted
    assert len(held) > 5
    assert max(held) <= 2 * 300 + 100 + 100
