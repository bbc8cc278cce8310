"""What an increment costs, by the committed measurement."""

import pytest

from stages.studies.scale.growth import beyond_start
from stages.studies.scale.rates import read_figures


def test_a_stage_faster_than_its_start_costs_nothing():
    assert beyond_start({"caption": 5.5, "segment": 9.0}, {"caption": 6.0, "segment": 7.0}) == 2.0


def test_the_committed_share_follows_from_the_committed_costs():
    """The grown corpus of 10,100 images is read off the line through the runs of 8,000 and 16,000."""
    growth = read_figures()["growth"]
    stages, increment = growth["stages"], growth["increment"]
    added = sum(max(0.0, cost["cpu"] - stages[name]["start"]) for name, cost in increment["stages"].items())
    two = [[stage["runs"][size]["cpu"] - stage["start"] for stage in stages.values()] for size in ("8000", "16000")]
    whole = sum(low + (high - low) * 2100 / 8000 for low, high in zip(*two, strict=True))
    assert increment["share"] == pytest.approx(added / whole, abs=5e-5)
