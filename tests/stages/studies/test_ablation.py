"""Scores of a model of the ablation."""

from pathlib import Path

import pytest

from stages.comparison.trials import run_trials
from stages.core.files import read_json
from stages.core.paths import IEDIT
from stages.studies.ablation import score_model


def test_rows_are_sampled_as_iedit_m_is(params):
    """With and without masks the model samples by ``sampling``, not by ``evaluate.systems.iedit``."""
    sampling = params.sampling.model_copy(update={"guidance_scale": 5.0})
    score_model(params.model_copy(update={"sampling": sampling}), IEDIT, Path("scores.json"), ["iedit", "iedit_m"])
    scores = read_json(Path("scores.json"))
    wanted = {system: [{"guidance_scale": 5.0}, {"guidance_scale": 1.0}] for system in ("iedit", "iedit_m")}
    for found in run_trials(params, "evaluation", wanted, Path("data/tuned")):
        same = found.scores.per_case["clip_score"].mean() == pytest.approx(scores[found.system]["clip_score"])
        assert same == (found.settings["guidance_scale"] == 5.0)


def test_only_the_named_systems_are_scored(params):
    score_model(params, IEDIT, Path("scores.json"), ["iedit"])
    assert set(read_json(Path("scores.json"))) == {"iedit"}
