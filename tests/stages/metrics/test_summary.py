"""The summary of several systems: what metrics.json holds."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from stages.core.errors import InputError
from stages.metrics.intervals import Interval
from stages.metrics.scores import SystemScores, score_system
from stages.metrics.summary import summarise
from stages.metrics.table import ALIASES
from tests.support.metric_inputs import JUDGE, NONE_FAILED, SIZE, box_mask, colour_cases, narrow_vgg, painted


@pytest.fixture(scope="module")
def vgg():
    return narrow_vgg()


def test_undefined_scores_are_null_and_counted(vgg):
    cases = replace(colour_cases(), masks=torch.cat([torch.zeros(1, 1, SIZE, SIZE), box_mask(5)]))
    scores = {"still": score_system(cases, cases.sources, NONE_FAILED, JUDGE, vgg, batch=6)}
    metrics = json.loads(json.dumps(summarise(scores, resamples=20, seed=0, models={}), allow_nan=False))
    assert metrics["cases"] == 6
    assert metrics["undefined"]["still"]["ssim_m_frame"] == metrics["undefined"]["still"]["edit_success"] == 1
    assert metrics["undefined"]["still"]["clip_directional"] == 6
    assert metrics["systems"]["still"]["clip_directional"] is None
    assert metrics["intervals"]["still"]["clip_directional"] == [None, None]
    assert metrics["systems"]["still"]["kid_judge_features"] == 0


def test_failures_are_counted_and_left_out_of_pairs(vgg):
    cases = colour_cases()
    edits = torch.cat([cases.sources[:2], painted(cases)[2:]])
    scores = {
        "sdedit": score_system(cases, painted(cases), NONE_FAILED, JUDGE, vgg, batch=6),
        "iedit_m": score_system(cases, edits, torch.arange(6) < 2, JUDGE, vgg, batch=6),
    }
    metrics = summarise(scores, resamples=20, seed=0, models={})
    assert metrics["failed"] == {"sdedit": 0, "iedit_m": 2}
    assert metrics["undefined"]["iedit_m"]["ssim_m"] == 2
    found = metrics["differences"]["iedit_m"]["sdedit"]
    assert (found["ssim_m_frame"]["n"], found["ssim_m_frame"]["undefined"]) == (4, 2)
    assert found["ssim_m_frame"]["value"] == 0  # the two have the same edits wherever both have one
    assert metrics["systems"]["iedit_m"]["edit_success"] == pytest.approx(100 * 4 / 6)
    assert (found["edit_success"]["n"], found["clip_score"]["n"]) == (6, 6)


def test_summary_has_aliases_and_differences(vgg):
    cases = colour_cases()
    scores = {
        "sdedit": score_system(cases, cases.sources, NONE_FAILED, JUDGE, vgg, batch=6),
        "iedit": score_system(cases, painted(cases), NONE_FAILED, JUDGE, vgg, batch=6),
    }
    metrics = summarise(scores, resamples=50, seed=0, models={"judge": {"name": "eye"}})
    for alias, name in ALIASES.items():
        assert metrics["systems"]["iedit"][alias] == metrics["systems"]["iedit"][name]
    difference = metrics["differences"]["iedit"]["sdedit"]["clip_score"]
    means = metrics["systems"]
    assert difference["value"] == pytest.approx(means["iedit"]["clip_score"] - means["sdedit"]["clip_score"])
    assert 0 < difference["low"] < difference["high"]
    distance = metrics["differences"]["iedit"]["sdedit"]["frechet_judge_features"]
    assert distance["value"] == pytest.approx(means["iedit"]["frechet_judge_features"])  # the other changes nothing: 0
    assert [distance["low"], distance["high"]] == pytest.approx(metrics["intervals"]["iedit"]["frechet_judge_features"])
    assert metrics == summarise(scores, resamples=50, seed=0, models={"judge": {"name": "eye"}})


def test_systems_with_different_numbers_of_cases_are_refused():
    number = Interval(value=0, low=0, high=0, n=2)
    scores = {
        name: SystemScores(per_case={"clip_score": np.zeros(n)}, of_set={"kid": number}, failed=np.zeros(n, np.bool_))
        for name, n in (("a", 2), ("b", 3))
    }
    with pytest.raises(InputError, match="different cases"):
        summarise(scores, resamples=5, seed=0, models={})
