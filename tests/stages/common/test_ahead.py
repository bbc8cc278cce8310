"""Calls made ahead of their reader."""

import threading
from functools import partial

import pytest

from stages.common.ahead import call_ahead


@pytest.mark.parametrize("count", [0, 1, 3, 10])
def test_results_are_those_of_the_calls_in_order(count):
    assert list(call_ahead((partial(int, str(number)) for number in range(count)), ahead=3)) == list(range(count))


def test_calls_run_before_their_results_are_asked_for():
    second = threading.Event()
    results = call_ahead([lambda: "first", second.set, lambda: None], ahead=2)
    assert next(results) == "first"
    assert second.wait(10)


def test_no_call_is_made_far_ahead_of_the_reader():
    made = []
    results = call_ahead((partial(made.append, number) for number in range(100)), ahead=4)
    next(results)
    assert len(made) <= 5
    results.close()
    assert len(made) <= 5


def test_an_error_is_raised_in_its_place():
    results = call_ahead([lambda: 1, partial(int, "one"), lambda: 3])
    assert next(results) == 1
    with pytest.raises(ValueError, match="one"):
        next(results)
