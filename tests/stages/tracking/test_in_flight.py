"""The bound on the work in hand."""

import pytest

from stages.tracking.in_flight import InFlight, TooMuchError


def test_work_beyond_a_bound_is_refused_until_there_is_room():
    in_flight = InFlight({"steps": 100, "pixels": 1000})
    with in_flight.hold({"steps": 60, "pixels": 10}):
        with in_flight.hold({"steps": 40, "pixels": 990}):
            for amounts in ({"steps": 1, "pixels": 0}, {"steps": 0, "pixels": 1}):
                with pytest.raises(TooMuchError), in_flight.hold(amounts):
                    pass
        message = r"^busy: 41 steps more than the 60 in hand would exceed 100: try again later$"
        with pytest.raises(TooMuchError, match=message), in_flight.hold({"steps": 41, "pixels": 0}):
            pass
    with in_flight.hold({"steps": 100, "pixels": 1000}):
        pass


def test_work_that_fails_makes_room():
    in_flight = InFlight({"steps": 1})
    for _ in range(2):
        with pytest.raises(KeyError), in_flight.hold({"steps": 1}):
            raise KeyError
