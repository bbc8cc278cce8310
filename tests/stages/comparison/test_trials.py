"""Trials: what is kept, and what settings and masks change."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from stages.comparison.trials import remove_other_edits, run_trials
from stages.metrics.table import count_key
from tests.support.compared import copy_trained_models, write_cases
from tests.support.results import trial
from tests.support.tiny_corpus import params_for


def test_trials_are_kept_and_differ_by_settings_and_masks(models, workplace, monkeypatch):
    write_cases(workplace / "data/validation", 4)
    copy_trained_models(models)
    params = params_for(models, evaluate={"validation": "data/validation"})
    wanted = {
        "sdedit": [{"strength": 1.0, "guidance_scale": 1.0}, {"strength": 1.0, "guidance_scale": 5.0}],
        "iedit_m": [{"strength": 1.0, "guidance_scale": 5.0}],
    }
    found = list(run_trials(params, "validation", wanted, Path("data/tuned")))
    assert [each.system for each in found] == ["sdedit", "sdedit", "iedit_m"]
    kept = [each.scores.per_case["ssim_m_bar_frame"] for each in found]
    assert all((one != other).any() for one, other in pairwise(kept))
    monkeypatch.setattr(
        "stages.editing.batch_editor.BatchEditor.edit_batch", lambda *_, **__: pytest.fail("an edit was made again")
    )
    again = list(run_trials(params, "validation", wanted, Path("data/tuned")))
    for one, other in zip(found, again, strict=True):
        np.testing.assert_array_equal(one.scores.per_case["clip_score"], other.scores.per_case["clip_score"])


def test_means_leave_out_what_their_counts_leave_out():
    found = trial("sdedit", 80, 60).means_and_counts()
    assert (found["edit_success"], found[count_key("edit_success")]) == (80, 3)
    assert (found["ssim_m_bar_frame"], found[count_key("ssim_m_bar_frame")]) == (60, 4)
    assert found[count_key("kid_judge_features")] == 4


def test_edits_of_other_trials_are_removed(tmp_path):
    for place in ("sdedit/sdedit 0.5 3", "sdedit/sdedit 0.5 4", "sdedit/masks", "iedit/iedit 0.5 3", "iedit/masks"):
        (tmp_path / place).mkdir(parents=True)
    remove_other_edits(tmp_path, [trial("sdedit", 80, 60, strength=0.5, guidance_scale=3.0)])
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*")}
    assert left == {"sdedit/sdedit 0.5 3", "sdedit/masks"}
    assert [path.name for path in tmp_path.iterdir()] == ["sdedit"]
