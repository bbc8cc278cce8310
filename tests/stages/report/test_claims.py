"""Claims: the effect of each, and when one holds."""

from dataclasses import replace

import numpy as np
import pytest

from stages.metrics.intervals import Interval
from stages.metrics.scores import SystemScores
from stages.metrics.table import METRICS
from stages.report.captions import NAMES
from stages.report.claims import CLAIMS, claim_rows, judge_claims, markdown_claims
from tests.support.results import OF_SET

PARTS = ("of_set", "without")


def scores(mean, distance, n=200):
    noise = np.random.default_rng(0).normal(0, 1, n)
    per_case = {metric.key: mean + noise for metric in METRICS if metric.key not in OF_SET}
    without = {name: distance * (1 + 0.001 * np.random.default_rng(1).normal(size=50)) for name in OF_SET}
    of_set = {name: Interval(value=distance, low=0, high=0, n=n) for name in OF_SET}
    return SystemScores(per_case=per_case, of_set=of_set, without=without)


def judged(**changes):
    systems = {name: scores(60, 10) for name in (*NAMES, "sdedit_as_iedit", "sdedit_as_iedit_m")}
    return judge_claims(systems | changes, 100, 0)


def test_a_large_and_certain_effect_holds():
    verdicts = judged(iedit_m=scores(80, 8))
    found = {(each.claim.second, each.claim.metric): each for each in verdicts}
    clip, gap, distance = (
        found["sdedit_as_iedit_m", name] for name in ("clip_score", "ssim_m_bar_frame", "frechet_judge_features")
    )
    assert clip.found.value == pytest.approx(100 * 20 / 60, rel=0.01)
    assert gap.found.value == pytest.approx(50, rel=0.01)  # 40 are lacking, then 20
    assert distance.found.value == pytest.approx(20)
    assert [clip.holds, gap.holds, distance.holds] == [True, True, True]
    assert not found["sdedit_as_iedit", "clip_score"].holds  # iEdit is no better
    assert found["inpainting", "ssim_m_bar_frame"].holds
    table = markdown_claims(claim_rows(verdicts), 200)
    assert table.count("| yes |") == sum(verdict.holds for verdict in verdicts)


def test_claims_name_metrics_and_fid_needs_inception():
    assert {claim.metric for claim in CLAIMS} <= {metric.key for metric in METRICS}

    def without(system):
        return replace(system, **{name: {k: v for k, v in getattr(system, name).items() if k != "fid"} for name in PARTS})

    systems = {name: scores(60, 10) for name in (*NAMES, "sdedit_as_iedit", "sdedit_as_iedit_m")} | {"iedit_m": scores(60, 8)}
    verdicts = judge_claims({name: without(system) for name, system in systems.items()}, 100, 0)
    assert [each.claim for each in verdicts] == [claim for claim in CLAIMS if claim.metric != "fid"]
    (fid,) = (each for each in judge_claims(systems, 100, 0) if each.claim.metric == "fid")
    assert (fid.found.value, fid.holds) == (pytest.approx(20), True)


def test_too_few_cases_judge_no_claim():
    names = (*NAMES, "sdedit_as_iedit", "sdedit_as_iedit_m")
    verdicts = judged(**{name: scores(80 if name == "iedit_m" else 60, 8, n=19) for name in names})
    assert {verdict.holds for verdict in verdicts} == {None}
    table = markdown_claims(claim_rows(verdicts), 19)
    assert table.count("| not judged |") == len(verdicts)
    assert not any(words in table for words in ("95 %", "| yes |", "| no |"))


def test_half_a_point_less_holds_only_within_the_allowed_loss():
    verdicts = judged(iedit_m=scores(59.5, 9.9))
    again = {(each.claim.second, each.claim.metric): each.holds for each in verdicts}
    assert again["inpainting", "ssim_m_bar_frame"]  # half a point of the one that is allowed
    assert sum(again.values()) == 1
