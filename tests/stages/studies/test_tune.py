"""Which settings are tried, and which are best."""

import csv
import io
import math
from dataclasses import replace

import pytest

from stages.comparison.systems import SYSTEMS
from stages.comparison.training_free import TRAINING_FREE
from stages.core.params import Params
from stages.studies import tune
from tests.support.composed import composed
from tests.support.results import trial


def test_every_system_has_twelve_different_trials():
    assert set(tune.GRIDS) == {*SYSTEMS, *TRAINING_FREE}
    for grid in tune.GRIDS.values():
        assert len({tuple(sorted(settings.items())) for settings in grid}) == len(grid) == 12


def test_criterion_is_the_harmonic_mean():
    assert tune.criterion(trial("sdedit", 80, 40)) == pytest.approx(2 / (1 / 80 + 1 / 40))
    assert tune.criterion(trial("sdedit", 70, 70)) == pytest.approx(70)
    assert tune.criterion(trial("sdedit", 0, 100)) == 0


@pytest.mark.filterwarnings("error")
def test_a_trial_of_which_every_edit_fails_is_worst():
    """It has no likeness to the source, and no success."""
    failing, better = trial("iedit_m", 0, math.nan), trial("iedit_m", 1, 1)
    assert tune.criterion(failing) == 0
    assert tune.best_of([failing, better]) == {"iedit_m": better}


def test_tables_mark_the_best_and_name_its_parameters():
    trials = [
        trial("sdedit", 90, 50, strength=0.8, guidance_scale=4.0),
        trial("sdedit", 70, 70, strength=0.6, guidance_scale=2.0),
        trial("inpainting", 60, 95, strength=1.0, guidance_scale=3.0),
        trial("iedit_m", 60, 90, strength=0.7, guidance_scale=7.0),
    ]
    rows = list(csv.DictReader(io.StringIO(tune.trials_table(trials))))
    assert [row["best"] for row in rows] == ["0", "1", "1", "1"]
    assert [row["image_guidance_scale"] for row in rows] == [""] * 4
    assert float(rows[0]["edit_success"]) == 90  # over the cases that define it
    best = tune.best_table(trials)
    assert "| Inpainting (true masks) | 1 |" in best
    assert "| Inpainting (referee's masks) | 1 |" in tune.best_table([replace(each, masks="referee") for each in trials])
    assert "| SDEdit | 2 | `evaluate.systems.sdedit.strength=0.6`, `evaluate.systems.sdedit.guidance_scale=2` |" in best
    assert "| 1 | `evaluate.systems.inpainting.guidance_scale=3` |" in best
    assert "`sampling.strength=0.7`" in best
    for term in ("The judge is ", "Edit success is ", "A draft is "):
        assert term in best


def test_named_parameters_exist():
    for system, grid in tune.GRIDS.items():
        names = set(grid[0]) - ({"strength"} if system == "inpainting" else set())
        Params.model_validate(composed(*(f"{tune.KEYS[system]}.{name}={grid[0][name]}" for name in names)))
