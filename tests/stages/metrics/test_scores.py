"""The scores of one system."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchmetrics.image.fid import FrechetInceptionDistance

from stages.metrics.scores import score_system
from stages.metrics.table import METRICS
from stages.models.inception import load_inception
from tests.support.judges import TheirInception, random_inception, saved_inception
from tests.support.metric_inputs import JUDGE, NONE_FAILED, SIZE, colour_cases, narrow_vgg, painted

LIKENESS = {
    *("clip_image", "ssim_m_frame", "ssim_m_bar_frame", "ssim_m_region", "ssim_m_bar_region", "perceptual_outside"),
}


@pytest.fixture(scope="module")
def vgg():
    return narrow_vgg()


def test_a_perfect_editor_scores_perfectly(vgg):
    cases = colour_cases()
    scores = score_system(cases, painted(cases), NONE_FAILED, JUDGE, vgg, batch=4)
    assert set(scores.per_case) | set(scores.of_set) == {metric.key for metric in METRICS if not metric.needs}
    assert all(values.shape == (6,) for values in scores.per_case.values())
    assert scores.per_case["edit_success"].tolist() == [100] * 6
    assert scores.per_case["perceptual_outside"].tolist() == [0] * 6
    assert scores.per_case["ssim_m_bar_frame"] == pytest.approx(100)
    assert (scores.per_case["ssim_m_frame"] < 100).all()
    assert (scores.per_case["clip_directional"] > 0).all()


def test_a_failed_edit_is_no_success_and_has_no_likeness(vgg):
    """Two copies of their sources: the first failed, the other one was edited into what it was before."""
    cases = colour_cases()
    edits = torch.cat([cases.sources[:2], painted(cases)[2:]])
    failed = torch.arange(6) == 0
    found, counted = (score_system(cases, edits, each, JUDGE, vgg, batch=4) for each in (failed, NONE_FAILED))
    for name in LIKENESS:
        assert counted.per_case[name][1] == pytest.approx(0 if name == "perceptual_outside" else 100)
        assert np.isnan(found.per_case[name]).tolist() == failed.tolist()
    assert found.per_case["edit_success"][0] == 0
    assert found.failed.tolist() == failed.tolist()
    for name in {*found.per_case} - LIKENESS - {"edit_success"}:
        np.testing.assert_array_equal(found.per_case[name], counted.per_case[name])
    for name, values in found.per_case.items():
        np.testing.assert_array_equal(values[1:], counted.per_case[name][1:])
    assert found.of_set == counted.of_set


def test_a_failure_is_no_success_whatever_the_judge_says(vgg):
    cases = colour_cases()
    scores = score_system(cases, painted(cases), torch.ones(6, dtype=torch.bool), JUDGE, vgg, batch=4)
    assert scores.per_case["edit_success"].tolist() == [0] * 6


def test_without_a_region_a_failure_stays_undefined(vgg):
    """As it is for every other system."""
    cases = replace(colour_cases(), masks=torch.zeros(6, 1, SIZE, SIZE))
    scores = score_system(cases, painted(cases), torch.ones(6, dtype=torch.bool), JUDGE, vgg, batch=4)
    assert np.isnan(scores.per_case["edit_success"]).all()


def test_scores_do_not_depend_on_the_batch_size(vgg):
    cases = colour_cases()
    one, other = (score_system(cases, painted(cases), NONE_FAILED, JUDGE, vgg, batch=batch) for batch in (1, 6))
    for name, values in one.per_case.items():
        np.testing.assert_allclose(values, other.per_case[name], atol=1e-3)


def test_fid_is_that_of_torchmetrics_and_pytorch_fid(vgg, tmp_path):
    cases, weights = colour_cases(4), random_inception()
    edits, inception = painted(cases), load_inception(saved_inception(weights, tmp_path))
    theirs = FrechetInceptionDistance(feature=TheirInception(weights))
    theirs.update(cases.sources, real=True)
    theirs.update(edits, real=False)
    found = score_system(cases, edits, torch.zeros(4, dtype=torch.bool), JUDGE, vgg, batch=3, inception=inception)
    assert list(found.of_set) == ["fid", "frechet_judge_features", "kid_judge_features"]
    assert found.of_set["fid"].value == pytest.approx(theirs.compute().item(), rel=1e-4)
    assert found.without["fid"].shape == (4,)
