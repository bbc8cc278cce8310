"""Batches are full, and what is prepared ahead comes in order."""

import threading

import pytest

from stages.common.batches import ahead, padded_batches


@pytest.mark.parametrize(
    ("count", "wanted"),
    [(0, []), (2, [([0, 1, 1], 2)]), (3, [([0, 1, 2], 3)]), (4, [([0, 1, 2], 3), ([3, 3, 3], 1)])],
)
def test_last_batch_is_filled_by_its_last_item(count, wanted):
    assert list(padded_batches(range(count), 3)) == wanted


class TestAhead:
    def test_items_come_in_order(self):
        assert list(ahead(iter(range(20)))) == list(range(20))
        assert list(ahead([])) == []

    def test_a_thread_prepares_two_more(self):
        made, here = [], threading.get_ident()

        def items():
            for number in range(9):
                assert threading.get_ident() != here
                made.append(number)
                yield number

        taken = ahead(items())
        assert next(taken) == 0
        while len(made) < 3:  # it works while nobody asks
            pass
        taken.close()
        assert len(made) <= 4

    def test_error_comes_where_its_item_would(self):
        def items():
            yield 1
            raise ValueError("damaged")

        taken = ahead(items())
        assert next(taken) == 1
        with pytest.raises(ValueError, match="damaged"):
            next(taken)
