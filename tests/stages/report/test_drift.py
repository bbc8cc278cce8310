"""Which nights are stopped, and what the line says."""

import pytest

from stages.core.params_drift import Drift
from stages.report.drift import find_drift

BOUNDS = Drift(nights=3, min_nights=2, max_difference=0.1, max_ratio=2.0)
NIGHT = {"counts/source": 6000.0, "counts/refused": 60.0, "shares/segment/dropped": 0.2}
NIGHT |= {"words/p50": 6.0, "speed/caption": 50.0}
NIGHTS = [NIGHT | {"shares/segment/dropped": share} for share in (0.22, 0.2, 0.21, 0.9)]


def drift_of(changes: dict[str, float], earlier: list[dict[str, float]] = NIGHTS, bounds: Drift = BOUNDS) -> str | None:
    return find_drift(NIGHT | changes, earlier, bounds)


WITHIN = [{}, {"shares/segment/dropped": 0.3}, {"words/p50": 3.0}, {"shares/segment/new reason": 0.1}]
UNBOUNDED = [{"speed/caption": 1.0}, {"counts/source": 60_000.0}]


@pytest.mark.parametrize("changes", WITHIN + UNBOUNDED)
def test_a_night_within_the_bounds_is_trained_on(changes):
    assert drift_of(changes) is None


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"shares/segment/dropped": 0.32},
            "drift.max_difference = 0.1: shares/segment/dropped is 0.32, the median of 3 nights is 0.21",
        ),
        ({"words/p50": 13.0}, "drift.max_ratio = 2.0: words/p50 is 13, the median of 3 nights is 6"),
        ({"words/p50": 2.0}, "drift.max_ratio = 2.0: words/p50 is 2, the median of 3 nights is 6"),
    ],
)
def test_the_line_names_metric_value_median_and_bound(changes, line):
    assert drift_of(changes) == line
    assert drift_of(changes, NIGHTS[:1]) is None  # too few nights for a norm
    assert drift_of(changes, bounds=Drift(nights=3, min_nights=2, max_difference=None, max_ratio=None)) is None


def test_a_reason_that_a_night_lacks_counts_as_zero():
    line = "drift.max_difference = 0.1: shares/segment/new reason is 0.9, the median of 3 nights is 0"
    assert drift_of({"shares/segment/new reason": 0.9}) == line
    seldom = [NIGHT | {"shares/segment/rare": 0.5}, NIGHT, NIGHT]
    assert drift_of({"shares/segment/rare": 0.5}, seldom) is not None
    often = [night | {"shares/segment/gone": 0.3} for night in NIGHTS]
    assert drift_of({}, often) == "drift.max_difference = 0.1: shares/segment/gone is 0, the median of 3 nights is 0.3"


def test_the_mix_of_edits_is_bounded_once_nights_have_it():
    mixed = [NIGHT | {"relations/colour": 0.6, "relations/co-hyponym": 0.4}] * 2
    line = "drift.max_difference = 0.1: relations/co-hyponym is 1, the median of 2 nights is 0.4"
    assert drift_of({"relations/co-hyponym": 1.0}, mixed) == line
    assert drift_of({"relations/colour": 0.55, "relations/co-hyponym": 0.45}, mixed) is None
    assert drift_of({"relations/colour": 1.0}) is None  # those nights were measured before relations were
    gone = "drift.max_difference = 0.1: relations/colour is 0, the median of 2 nights is 1"
    assert drift_of({"relations/antonym": 0.05}, [NIGHT | {"relations/colour": 1.0}] * 2) == gone


def test_a_score_is_checked_once_enough_nights_have_it():
    scored = [NIGHT | {"scores/new": 0.5}]
    assert drift_of({"scores/new": 1.0}, [*scored, NIGHT, NIGHT]) is None
    line = "drift.max_difference = 0.1: scores/new is 1, the median of 2 nights is 0.5"
    assert drift_of({"scores/new": 1.0}, [*scored, NIGHT, *scored]) == line


def test_more_refused_than_usual_is_a_drift():
    nights = [NIGHT | {"shares/ingest/refused": 0.01}] * 2
    line = "drift.max_difference = 0.1: shares/ingest/refused is 0.177, the median of 2 nights is 0.01"
    assert drift_of({"counts/refused": 1060.0, "shares/ingest/refused": 1060 / 6000}, nights) == line
