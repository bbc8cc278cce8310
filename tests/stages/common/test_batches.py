"""Batches of models are full."""

import pytest

from stages.common.batches import padded_batches


@pytest.mark.parametrize(
    ("count", "wanted"),
    [(0, []), (2, [([0, 1, 1], 2)]), (3, [([0, 1, 2], 3)]), (4, [([0, 1, 2], 3), ([3, 3, 3], 1)])],
)
def test_last_batch_is_filled_by_its_last_item(count, wanted):
    assert list(padded_batches(range(count), 3)) == wanted
