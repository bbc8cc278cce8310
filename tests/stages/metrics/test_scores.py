"""The scores of one system."""

import numpy as np
import pytest
from torchmetrics.image.fid import FrechetInceptionDistance

from stages.metrics.scores import score_system
from stages.metrics.table import METRICS
from stages.models.inception import load_inception
from tests.support.judges import TheirInception, random_inception, saved_inception
from tests.support.metric_inputs import JUDGE, colour_cases, narrow_vgg, painted


@pytest.fixture(scope="module")
def vgg():
    return narrow_vgg()


def test_a_perfect_editor_scores_perfectly(vgg):
    cases = colour_cases()
    scores = score_system(cases, painted(cases), JUDGE, vgg, batch=4)
    assert set(scores.per_case) | set(scores.of_set) == {metric.key for metric in METRICS if not metric.needs}
    assert all(values.shape == (6,) for values in scores.per_case.values())
    assert scores.per_case["edit_success"].tolist() == [100] * 6
    assert scores.per_case["perceptual_outside"].tolist() == [0] * 6
    assert scores.per_case["ssim_m_bar_frame"] == pytest.approx(100)
    assert (scores.per_case["ssim_m_frame"] < 100).all()
    assert (scores.per_case["clip_directional"] > 0).all()


def test_scores_do_not_depend_on_the_batch_size(vgg):
    cases = colour_cases()
    one, other = (score_system(cases, painted(cases), JUDGE, vgg, batch=batch) for batch in (1, 6))
    for name, values in one.per_case.items():
        np.testing.assert_allclose(values, other.per_case[name], atol=1e-3)


def test_fid_is_that_of_torchmetrics_and_pytorch_fid(vgg, tmp_path):
    cases, weights = colour_cases(4), random_inception()
    edits, inception = painted(cases), load_inception(saved_inception(weights, tmp_path))
    theirs = FrechetInceptionDistance(feature=TheirInception(weights))
    theirs.update(cases.sources, real=True)
    theirs.update(edits, real=False)
    found = score_system(cases, edits, JUDGE, vgg, batch=3, inception=inception)
    assert list(found.of_set) == ["fid", "frechet_judge_features", "kid_judge_features"]
    assert found.of_set["fid"].value == pytest.approx(theirs.compute().item(), rel=1e-4)
    assert found.without["fid"].shape == (4,)
