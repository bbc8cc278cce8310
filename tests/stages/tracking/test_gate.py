"""The rule that decides whether a version becomes champion."""

import numpy as np
import pytest

from stages.core.errors import InputError
from stages.tracking.gate import LABELS, decide
from tests.support.versions import GATE, NOISE, N, scores


@pytest.mark.parametrize(
    ("change", "passes", "verdict"),
    [
        ({"clip": 1}, True, "better in CLIPScore"),
        ({"ssim": 1}, True, "better in SSIM-M̄"),
        ({"clip": 1, "ssim": 1}, True, "better in CLIPScore and SSIM-M̄"),
        ({}, False, "neither CLIPScore nor SSIM-M̄ is better"),
        ({"clip": -0.1, "ssim": 5}, False, "CLIPScore is worse"),
        ({"clip": 1, "ssim": -0.9}, True, "better in CLIPScore"),
        ({"clip": 1, "ssim": -1.1}, False, "SSIM-M̄ may be worse by more than 1"),
        ({"clip": 5, "ssim": 0, "spread": 20}, False, "SSIM-M̄ may be worse by more than 1"),  # too uncertain to say
        ({"clip": -0.1, "ssim": 1, "spread": 3}, True, "better in SSIM-M̄"),  # CLIPScore may be worse by chance only
    ],
)
def test_decision(change, passes, verdict):
    decision = decide(scores(**change), scores(), GATE, version="7", resamples=400, seed=0)
    assert decision.passes is passes
    assert decision.why.startswith(f"{verdict}: CLIPScore {change.get('clip', 0):+.2f} [")
    assert decision.why.endswith("against version 7 on 200 cases")


def test_interval_is_that_of_the_mean():
    difference = decide(scores(spread=5), scores(), GATE, version="1", resamples=4000, seed=0).differences["clip_score"]
    error = 1.96 * 5 * NOISE.std() / np.sqrt(N)  # half-width of the mean's interval under a normal distribution
    assert (difference.low, difference.high) == pytest.approx((-error, error), rel=0.1)


def test_cases_without_a_score_are_left_out():
    some, none = scores(clip=1), scores()
    some["clip_score"][:50] = np.nan
    why = decide(some, scores(), GATE, version="1", resamples=10, seed=0).why
    assert why.startswith("better in CLIPScore: CLIPScore +1.00 [+1.00, +1.00] (of 150), SSIM-M̄ +0.00 [")
    assert why.endswith("against version 1 on 200 cases")
    none["ssim_m_bar_frame"][:] = np.nan
    decision = decide(none, scores(), GATE, version="1", resamples=10, seed=0)
    assert not decision.passes
    assert decision.why.startswith("SSIM-M̄ is defined on 0 cases, fewer than the 20")


@pytest.mark.parametrize("failing", [1, N - 1, N])
def test_no_version_passes_that_fails_more_often(failing):
    """Better in both scores wherever it edits, and on all cases in CLIPScore."""
    better = scores(clip=9, ssim=9, failing=failing)
    decision = decide(better, scores(), GATE, version="7", resamples=10, seed=0)
    assert not decision.passes
    assert decision.why == f"more edits find nothing to edit: {failing} of 200, where 0 of version 7 do"


@pytest.mark.parametrize(("failing", "before"), [(5, 5), (0, 5), (4, 5)])
def test_a_version_that_fails_no_more_often_can_pass(failing, before):
    decision = decide(scores(ssim=1, failing=failing), scores(failing=before), GATE, version="7", resamples=10, seed=0)
    assert decision.passes
    assert decision.differences["ssim_m_bar_frame"].n == N - before
    assert (decision.differences["clip_score"].n, decision.differences["clip_score"].value) == (N, 0)


@pytest.mark.parametrize(("before", "compared"), [(N, False), (N - 19, False), (N - 20, True)])
def test_a_champion_that_fails_on_most_is_no_obstacle(before, compared):
    """Where it edits enough to compare with, it still is: what the other version loses there counts."""
    decision = decide(scores(ssim=-9), scores(failing=before), GATE, version="7", resamples=50, seed=0)
    assert ("ssim_m_bar_frame" in decision.differences) is compared
    assert decision.passes is not compared
    if not compared:
        assert decision.why.startswith(f"better in failed edits (0, not {before}): CLIPScore +0.00 [")


def test_two_versions_without_an_edit_are_not_compared():
    decision = decide(scores(clip=9, failing=N), scores(failing=N), GATE, version="7", resamples=10, seed=0)
    assert not decision.passes
    assert "SSIM-M̄ is defined on 0 cases" in decision.why


def test_no_version_passes_on_few_cases():
    few, better = ({name: values[:19] for name, values in each.items()} for each in (scores(), scores(clip=9)))
    decision = decide(better, few, GATE, version="1", resamples=10, seed=0)
    assert not decision.passes
    assert decision.why == (
        "CLIPScore is defined on 19 cases, fewer than the 20 that a comparison needs: raise retrieve.held_out, or add images"
    )


@pytest.mark.parametrize("metric", ["clip_score", "ssim_m_bar_frame"])
def test_no_version_passes_on_a_metric_of_few_cases(metric):
    better = scores(clip=9, ssim=9)
    better[metric][19:] = np.nan
    decision = decide(better, scores(), GATE, version="1", resamples=10, seed=0)
    assert not decision.passes
    assert f"{LABELS[metric]} is defined on 19 cases, fewer than the 20" in decision.why


def test_scores_of_other_cases_are_refused():
    fewer = {name: values[:-1] for name, values in scores().items()}
    with pytest.raises(InputError, match="the cases must be the same"):
        decide(fewer, scores(), GATE, version="1", resamples=10, seed=0)
