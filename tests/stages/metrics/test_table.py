"""The table of metrics: what follows from a row."""

import numpy as np
import pytest
import torch

from stages.metrics import scores, summary
from stages.metrics.scores import score_system
from stages.metrics.summary import summarise
from stages.metrics.table import ALIASES, CASE_METRICS, METRICS, SET_METRICS, CaseMetric
from tests.support.metric_inputs import JUDGE, NONE_FAILED, colour_cases, narrow_vgg, painted


def test_keys_and_labels_are_distinct():
    names = [*(metric.key for metric in METRICS), *ALIASES]
    assert len(set(names)) == len(names)
    assert len({metric.label for metric in METRICS}) == len(METRICS)
    assert {*CASE_METRICS, *SET_METRICS} == set(METRICS)


def test_case_scores_keep_the_order_of_the_table():
    """The order of the columns of cases.csv."""
    cases = colour_cases()
    found = score_system(cases, painted(cases), NONE_FAILED, JUDGE, narrow_vgg(), batch=4)
    assert list(found.per_case) == [
        "clip_score",
        "clip_directional",
        "clip_image",
        "edit_success",
        "ssim_m_frame",
        "ssim_m_bar_frame",
        "ssim_m_region",
        "ssim_m_bar_region",
        "perceptual_outside",
    ]
    assert list(found.of_set) == list(found.without) == ["frechet_judge_features", "kid_judge_features"]


def test_a_new_row_is_scored_and_summarised(monkeypatch):
    """A row is all that a metric needs to reach metrics.json, under both of its names."""
    red = CaseMetric(
        key="mean_red",
        alias="red",
        label="Red",
        better="",
        decimals=2,
        tolerance=0.0,
        definition="Mean of the red channel.",
        measure=lambda found: found.by_batch(lambda source, edit, mask: edit[:, 0].mean(dim=(1, 2))),
    )
    monkeypatch.setattr(scores, "CASE_METRICS", (*CASE_METRICS, red))
    monkeypatch.setattr(summary, "ALIASES", {**ALIASES, red.alias: red.key})
    cases = colour_cases()
    edits = painted(cases)
    found = score_system(cases, edits, NONE_FAILED, JUDGE, narrow_vgg(), batch=4)
    np.testing.assert_allclose(found.per_case["mean_red"], edits[:, 0].mean(dim=(1, 2)).numpy(), rtol=1e-6)
    metrics = summarise({"iedit": found}, resamples=5, seed=0, models={})
    assert metrics["systems"]["iedit"]["red"] == metrics["systems"]["iedit"]["mean_red"]
    assert metrics["systems"]["iedit"]["red"] == pytest.approx(torch.mean(edits[:, 0]).item())
