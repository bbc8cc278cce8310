"""Whether two evaluations agree."""

import copy
import math

import pytest

from stages.cli.agreement import Agreement, Difference, are_comparable, compare_scores, read_metrics
from stages.core.paths import REFERENCE
from stages.metrics.table import METRICS
from tests.support import ROOT


@pytest.fixture
def reference() -> dict:
    return read_metrics(ROOT / REFERENCE / "metrics.json")


@pytest.mark.parametrize(("difference", "size", "agrees"), [(0.0, 0.0, True), (1e-9, math.inf, False)])
def test_without_a_tolerance_scores_must_be_equal(difference, size, agrees):
    largest = Difference(system="iedit", metric="clip_score", difference=difference, tolerance=0.0)
    assert (largest.size, Agreement(largest=largest, not_compared=()).is_tolerable) == (size, agrees)


def test_equal_scores_do_not_differ(reference):
    agreement = compare_scores(reference, copy.deepcopy(reference))
    assert (agreement.largest.difference, agreement.largest.size, agreement.is_tolerable) == (0, 0, True)
    assert agreement.not_compared == ()


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.key)
def test_the_tolerance_is_where_agreement_ends(reference, metric):
    for factor, agrees in ((0.999, True), (1.001, False), (-0.999, True), (-1.001, False)):
        for scores in reference["systems"].values():
            scores.setdefault(metric.key, 100.0)  # it needs a model that the reference does without
        other = copy.deepcopy(reference)
        other["systems"]["sdedit"][metric.key] += factor * metric.tolerance
        agreement = compare_scores(reference, other)
        largest = agreement.largest
        assert (largest.system, largest.metric, agreement.is_tolerable) == ("sdedit", metric.key, agrees)


def test_differences_are_measured_by_their_tolerance(reference):
    other = copy.deepcopy(reference)
    other["systems"]["iedit"]["clip_score"] += 0.5
    other["systems"]["iedit_m"]["perceptual_outside"] += 0.004
    agreement = str(compare_scores(reference, other))
    assert agreement.startswith("the largest difference of a score is 0.004 (")
    assert agreement.endswith(" of iEdit-M; allowed 0.005)")


def test_a_score_that_is_undefined_once_differs(reference):
    other = copy.deepcopy(reference)
    other["systems"]["iedit"]["ssim_m_region"] = None
    assert compare_scores(reference, other).largest.difference == math.inf
    assert compare_scores(other, copy.deepcopy(other)).is_tolerable


def test_a_metric_of_one_evaluation_is_named(reference):
    """A metric that was added to the table, or removed from it, leaves the others comparable."""
    other = copy.deepcopy(reference)
    for scores in other["systems"].values():
        del scores["kid_judge_features"]
        scores["removed"] = 1.0
    for agreement in (compare_scores(reference, other), compare_scores(other, reference)):
        assert agreement.is_tolerable
        assert str(agreement).endswith("; not compared: KID (judge features), removed")


def test_evaluations_without_a_common_metric_are_not_comparable(reference):
    other = copy.deepcopy(reference)
    other["systems"] = {system: {"removed": 1.0} for system in other["systems"]}
    assert not are_comparable(reference, other)
    empty = reference | {"systems": {}}
    assert not are_comparable(empty, empty)


@pytest.mark.parametrize("name", ["judge", "vgg", "base", "segmenter"])
def test_other_frozen_models_are_not_comparable(reference, name):
    other = copy.deepcopy(reference)
    other["models"][name]["identity"] = "other"
    assert not are_comparable(reference, other)


def test_fid_is_compared_where_both_have_the_same_inception(reference):
    def named(identity):
        return reference | {
            "models": reference["models"] | {"inception": {"name": "inception", "identity": identity}},
            "systems": {system: scores | {"fid": 100.0} for system, scores in reference["systems"].items()},
        }

    assert are_comparable(reference, named("one"))
    assert str(compare_scores(reference, named("one"))).endswith("; not compared: FID")
    assert are_comparable(named("one"), named("one"))
    assert compare_scores(named("one"), named("one")).not_compared == ()
    assert not are_comparable(named("one"), named("other"))


def test_other_cases_or_systems_are_not_comparable(reference):
    assert not are_comparable(reference, reference | {"cases_digest": "other"})
    assert not are_comparable(reference, reference | {"systems": {"iedit": reference["systems"]["iedit"]}})


def test_trained_models_may_differ(reference):
    other = copy.deepcopy(reference)
    for name in ("iedit", "instruct_pix2pix"):
        other["models"][name]["identity"] = "other"
    assert are_comparable(reference, other)
