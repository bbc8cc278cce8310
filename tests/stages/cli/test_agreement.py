"""Whether two evaluations agree."""

import copy
import math

import pytest

from stages.cli.agreement import LABELS, TOLERANCES, are_comparable, largest_difference, read_metrics
from stages.core.paths import REFERENCE
from tests.support import ROOT


@pytest.fixture
def reference() -> dict:
    return read_metrics(ROOT / REFERENCE / "metrics.json")


def test_tolerances_are_of_metrics():
    assert set(TOLERANCES) <= set(LABELS)


def test_a_metric_without_a_tolerance_must_be_equal(reference, monkeypatch):
    monkeypatch.delitem(TOLERANCES, "clip_score")
    assert largest_difference(reference, copy.deepcopy(reference)).is_tolerable
    other = copy.deepcopy(reference)
    other["systems"]["iedit"]["clip_score"] += 1e-9
    assert not largest_difference(reference, other).is_tolerable


def test_equal_scores_do_not_differ(reference):
    largest = largest_difference(reference, copy.deepcopy(reference))
    assert (largest.difference, largest.size, largest.is_tolerable) == (0, 0, True)


@pytest.mark.parametrize("metric", LABELS)
def test_the_tolerance_is_where_agreement_ends(reference, metric):
    for factor, agrees in ((0.999, True), (1.001, False), (-0.999, True), (-1.001, False)):
        other = copy.deepcopy(reference)
        other["systems"]["sdedit"][metric] += factor * TOLERANCES[metric]
        largest = largest_difference(reference, other)
        assert (largest.system, largest.metric, largest.is_tolerable) == ("sdedit", metric, agrees)


def test_differences_are_measured_by_their_tolerance(reference):
    other = copy.deepcopy(reference)
    other["systems"]["iedit"]["clip_score"] += 0.5
    other["systems"]["iedit_m"]["perceptual_outside"] += 0.004
    largest = largest_difference(reference, other)
    assert str(largest).startswith("the largest difference of a score is 0.004 (")
    assert str(largest).endswith(" of iEdit-M; allowed 0.005)")


def test_a_score_that_is_undefined_once_differs(reference):
    other = copy.deepcopy(reference)
    other["systems"]["iedit"]["ssim_m_region"] = None
    assert largest_difference(reference, other).difference == math.inf
    assert largest_difference(other, copy.deepcopy(other)).is_tolerable


@pytest.mark.parametrize("name", ["judge", "vgg", "base", "segmenter"])
def test_other_frozen_models_are_not_comparable(reference, name):
    other = copy.deepcopy(reference)
    other["models"][name]["identity"] = "other"
    assert not are_comparable(reference, other)


def test_other_cases_or_systems_are_not_comparable(reference):
    assert not are_comparable(reference, reference | {"cases_digest": "other"})
    assert not are_comparable(reference, reference | {"systems": {"iedit": reference["systems"]["iedit"]}})


def test_trained_models_may_differ(reference):
    other = copy.deepcopy(reference)
    for name in ("iedit", "instruct_pix2pix"):
        other["models"][name]["identity"] = "other"
    assert are_comparable(reference, other)
