"""Claims: the effect of each, and when one holds."""

from dataclasses import replace

import numpy as np
import pytest

from stages.metrics.intervals import Interval
from stages.metrics.scores import SystemScores
from stages.metrics.table import METRICS
from stages.report.captions import NAMES
from stages.report.claims import (
    OWN_CLAIMS,
    PAPER_CLAIMS,
    claim_tables,
    claims_page,
    judge_claims,
    markdown_claims,
    paper_effects,
)
from stages.report.paper import TABLE_1
from tests.support.results import OF_SET

PARTS = ("of_set", "without")


def scores(mean, distance, n=200):
    noise = np.random.default_rng(0).normal(0, 1, n)
    per_case = {metric.key: mean + noise for metric in METRICS if metric.key not in OF_SET}
    without = {name: distance * (1 + 0.001 * np.random.default_rng(1).normal(size=50)) for name in OF_SET}
    of_set = {name: Interval(value=distance, low=0, high=0, n=n) for name in OF_SET}
    return SystemScores(per_case=per_case, of_set=of_set, without=without, failed=np.zeros(n, np.bool_))


def judged(**changes):
    systems = {name: scores(60, 10) for name in (*NAMES, "sdedit_as_iedit", "sdedit_as_iedit_m")}
    return judge_claims(systems | changes, 100, 0)


def by_claim(verdicts):
    """The verdicts on iEdit-M against others and on iEdit without masks, by the other and the metric."""
    return {(each.claim.second, each.claim.metric): each for each in verdicts}


def test_a_large_and_certain_effect_holds():
    verdicts = judged(iedit_m=scores(80, 8))
    found = by_claim(verdicts)
    clip, gap, distance = (
        found["sdedit_as_iedit_m", name] for name in ("clip_score", "ssim_m_bar_frame", "frechet_judge_features")
    )
    assert clip.found.value == pytest.approx(100 * 20 / 60, rel=0.01)
    assert gap.found.value == pytest.approx(50, rel=0.01)  # 40 are lacking, then 20
    assert distance.found.value == pytest.approx(20)
    assert [clip.holds, gap.holds, distance.holds] == [True, True, True]
    assert not found["sdedit_as_iedit", "clip_score"].holds  # iEdit is no better
    assert found["inpainting", "ssim_m_bar_frame"].holds
    table = claims_page(claim_tables(verdicts), 200)
    assert table.count("| yes |") == sum(verdict.holds for verdict in verdicts)
    assert table.count("| 200 | 1 |") == len(verdicts)  # n and seeds of each


def test_pairs_with_a_failure_are_left_out_and_counted():
    masked = scores(80, 8)
    masked.per_case["ssim_m_bar_frame"][:3] = np.nan
    masked.failed[:3] = True
    verdicts = judged(iedit_m=masked)
    found = {(each.claim.second, each.claim.metric): each.found for each in verdicts}
    kept = found["sdedit_as_iedit_m", "ssim_m_bar_frame"]
    assert (kept.n, kept.undefined) == (197, 3)
    assert found["inpainting", "ssim_m_bar_frame"].value == pytest.approx(20)  # of pairs, whoever else has the other cases
    counts = {row[0]: row[-3] for table in claim_tables(verdicts) for row in table.rows}
    left_out = {words for words, count in counts.items() if count == "197"}
    assert left_out == {words for words in counts if words.startswith("iEdit-M") and "SSIM-M̄" in words}
    assert {count for words, count in counts.items() if words not in left_out} == {"200"}


def test_a_claim_about_failures_alone_is_not_judged():
    masked = scores(80, 8)
    masked.per_case["ssim_m_bar_frame"][:] = np.nan
    verdicts = judged(iedit_m=masked)
    (found,) = (each for each in verdicts if (each.claim.second, each.claim.metric) == ("inpainting", "ssim_m_bar_frame"))
    assert found.holds is None
    assert ("undefined", "0") in {(row[-4], row[-3]) for table in claim_tables(verdicts) for row in table.rows}


def test_claims_name_metrics_and_fid_needs_inception():
    assert {claim.metric for claim in (*PAPER_CLAIMS, *OWN_CLAIMS)} <= {metric.key for metric in METRICS}

    def without(system):
        return replace(system, **{name: {k: v for k, v in getattr(system, name).items() if k != "fid"} for name in PARTS})

    systems = {name: scores(60, 10) for name in (*NAMES, "sdedit_as_iedit", "sdedit_as_iedit_m")} | {"iedit_m": scores(60, 8)}
    verdicts = judge_claims({name: without(system) for name, system in systems.items()}, 100, 0)
    assert [each.claim for each in verdicts] == [claim for claim in (*PAPER_CLAIMS, *OWN_CLAIMS) if claim.metric != "fid"]
    (fid,) = (each for each in judge_claims(systems, 100, 0) if each.claim.metric == "fid")
    assert (fid.found.value, fid.holds) == (pytest.approx(20), True)


def test_too_few_cases_judge_no_claim():
    names = (*NAMES, "sdedit_as_iedit", "sdedit_as_iedit_m")
    verdicts = judged(**{name: scores(80 if name == "iedit_m" else 60, 8, n=19) for name in names})
    assert {verdict.holds for verdict in verdicts} == {None}
    table = claims_page(claim_tables(verdicts), 19)
    assert table.count("| not judged |") == len(verdicts)
    assert not any(words in table for words in ("95 %", "| yes |", "| no |"))


def test_half_a_point_less_holds_only_within_the_allowed_loss():
    verdicts = judged(iedit_m=scores(59.5, 9.9))
    found = by_claim(verdicts)
    assert found["inpainting", "ssim_m_bar_frame"].holds  # half a point of the one that is allowed
    assert not found["instruct_pix2pix", "ssim_m_bar_frame"].holds
    assert sum(each.holds for each in verdicts if each.claim.first == "iedit_m") == 1


def test_n_counts_the_cases_that_both_systems_define():
    first, second = scores(80, 8), scores(60, 10)
    first.per_case["clip_score"][:30] = np.nan
    second.per_case["clip_score"][20:50] = np.nan
    found = by_claim(judged(iedit_m=first, sdedit_as_iedit_m=second))["sdedit_as_iedit_m", "clip_score"].found
    assert (found.n, found.undefined) == (150, 50)
    alone = first.per_case["clip_score"][50:].mean() / second.per_case["clip_score"][50:].mean()
    assert found.value == pytest.approx(100 * (alone - 1))


def test_every_claim_stands_in_one_table():
    papers, own = claim_tables(judged())
    assert len(papers.rows) == len(PAPER_CLAIMS)
    assert len(own.rows) == len(OWN_CLAIMS)
    assert not set(PAPER_CLAIMS) & set(OWN_CLAIMS)
    for table in (papers, own):
        assert {len(row) for row in table.rows} == {len(table.heading)}
        assert table.note in markdown_claims([table])
    assert papers.rows[0][1:4] == ("+6.0", "+2.4", "≥ 2.4")
    assert own.rows[0][1] == "> 0"


def test_the_paper_shows_what_is_claimed_as_its_own():
    effects = [tuple(paper_effects(claim).values()) for claim in PAPER_CLAIMS]
    distance = (33.3, 18.3)  # FID, beside which the judge's features have no figure of their own
    wanted = [(6.04, 2.43), (55.8, 44.7), distance, distance, (5.08, 1.79), (1.38, 5.49), (1.90, 0.79)]  # by hand
    assert effects == [pytest.approx(pair, abs=0.05) for pair in wanted]
    for claim, pair in zip(PAPER_CLAIMS, effects, strict=True):
        assert min(pair) == pytest.approx(claim.at_least, rel=0.02) if claim.at_least else min(pair) > 0
    text_of_section = [
        TABLE_1["generated"]["iedit_m"]["clip_score"] - TABLE_1["generated"][name]["clip_score"]
        for name in ("sdedit", "instruct_pix2pix")
    ]
    assert text_of_section == pytest.approx([3.78, 1.24])
