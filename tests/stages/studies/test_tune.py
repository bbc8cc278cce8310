"""Which settings are tried, which are best, and what is kept."""

import csv
import io
import math
from dataclasses import replace

import numpy as np
import pytest

from stages.comparison import systems, training_free
from stages.comparison.trials import Trial
from stages.core.params import Params
from stages.core.paths import EDITED_TRIALS, REPORTS, VALIDATION
from stages.studies import tune
from stages.studies.search import search_all
from tests.support.compared import write_cases
from tests.support.composed import composed
from tests.support.results import trial


def complete(system, success, kept, **settings):
    """A trial whose four cases are all scored."""
    made = trial(system, success, kept, **settings)
    per_case = made.scores.per_case | {"edit_success": np.full(4, float(success))}
    return replace(made, scores=replace(made.scores, per_case=per_case))


def test_every_system_is_tried_equally_often():
    assert set(tune.SYSTEMS) == {*systems.SYSTEMS, *training_free.TRAINING_FREE}
    found = search_all(tune.SYSTEMS, lambda _, settings: -abs(settings["guidance_scale"] - 3), tune.TRIALS)
    counts = {system: len(tried) for system, tried in found.items()}
    assert counts.pop("inpainting") == len(tune.LADDERS["guidance_scale"].values)
    assert set(counts.values()) == {tune.TRIALS}


def test_systems_share_the_values_of_a_parameter():
    for system, ladders in tune.SYSTEMS.items():
        for name, ladder in ladders.items():
            if (system, name) != ("inpainting", "strength"):
                assert ladder is tune.LADDERS[name]
    for ladder in tune.LADDERS.values():
        assert list(ladder.values) == sorted(set(ladder.values))


def test_criterion_is_the_harmonic_mean():
    assert tune.criterion(complete("sdedit", 80, 40)) == pytest.approx(2 / (1 / 80 + 1 / 40))
    assert tune.criterion(complete("sdedit", 70, 70)) == pytest.approx(70)
    assert tune.criterion(complete("sdedit", 0, 100)) == 0


@pytest.mark.parametrize("metric", tune.BALANCED)
def test_undefined_cases_never_raise_the_criterion(metric):
    whole = complete("sdedit", 80, 60).scores
    found = []
    for missing in (0, 1, 4):
        scored = {metric: np.where(np.arange(4) < missing, np.nan, [60, 70, 80, 90])}  # the least are left out first
        scores = replace(whole, per_case={**whole.per_case, **scored})
        found.append(tune.criterion(Trial(system="sdedit", settings={}, masks="true", scores=scores)))
    assert found[0] > found[1] > found[2] == 0


@pytest.mark.filterwarnings("error")
def test_a_trial_of_which_every_edit_fails_is_worst():
    """It has no likeness to the source, and no success."""
    failing, better = trial("iedit_m", 0, math.nan), trial("iedit_m", 1, 1)
    assert tune.criterion(failing) == 0
    assert tune.best_of([failing, better]) == {"iedit_m": better}


def test_tables_mark_the_best_and_name_its_parameters():
    trials = [
        complete("sdedit", 90, 50, strength=0.8, guidance_scale=4.0),
        complete("sdedit", 70, 70, strength=0.6, guidance_scale=2.0),
        complete("inpainting", 60, 95, strength=1.0, guidance_scale=3.0),
        trial("iedit_m", 80, 90, strength=1.0, guidance_scale=7.5),
    ]
    rows = list(csv.DictReader(io.StringIO(tune.trials_table(trials))))
    assert [row["best"] for row in rows] == ["0", "1", "1", "1"]
    assert [row["image_guidance_scale"] for row in rows] == [""] * 4
    assert [row["undefined"] for row in rows] == ["0", "0", "0", "1"]
    assert float(rows[3]["edit_success"]) == 60  # one of the four is undefined and counts as 0
    assert [row["ladder_end"] for row in rows] == ["", "", "", "strength = 1: the whole schedule is run, so there is no more"]
    best = tune.best_table(trials)
    assert "| Inpainting (true masks) | 1 |" in best
    assert "| Inpainting (referee's masks) | 1 |" in tune.best_table([replace(each, masks="referee") for each in trials])
    assert "| SDEdit | 2 | `evaluate.systems.sdedit.strength=0.6`, `evaluate.systems.sdedit.guidance_scale=2` |" in best
    assert "| 1 | `evaluate.systems.inpainting.guidance_scale=3` |" in best
    assert "`sampling.strength=1`" in best
    assert best.count("so there is no more |") == 1
    for term in ("The judge is ", "Edit success is ", "A draft is ", "counts as 0", "as many trials, at least 20"):
        assert term in best


def test_every_value_of_a_ladder_is_allowed():
    for system, ladders in tune.SYSTEMS.items():
        names = set(ladders) - ({"strength"} if system == "inpainting" else set())
        for place in (0, -1):
            Params.model_validate(composed(*(f"{tune.KEYS[system]}.{name}={ladders[name].values[place]}" for name in names)))


def test_a_complete_run_keeps_the_edits_of_its_trials_alone(params, monkeypatch):
    write_cases(VALIDATION, 4)
    params = params.model_copy(update={"evaluate": params.evaluate.model_copy(update={"validation": str(VALIDATION)})})
    monkeypatch.setattr(tune, "SYSTEMS", {"inpainting": tune.SYSTEMS["inpainting"]})
    monkeypatch.setattr(tune, "TRIALS", 2)
    for former in ("inpainting/inpainting 1 99", "gone/gone 1"):
        (EDITED_TRIALS / former).mkdir(parents=True)
    tune.tune(params)
    rows = list(csv.DictReader((REPORTS / "tuning.csv").open()))
    names = {f"inpainting 1 {float(row['guidance_scale']):g}" for row in rows}
    assert len(rows) == len(names) >= 2
    assert {path.name for path in (EDITED_TRIALS / "inpainting").iterdir()} == {*names, "masks"}
    assert [path.name for path in EDITED_TRIALS.iterdir()] == ["inpainting"]
