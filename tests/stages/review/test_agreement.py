"""Scores against decisions: by brute force over all pairs of a kept and a dropped one."""

from datetime import UTC, datetime

import numpy as np
import pytest

from stages.core.params_file import read_params
from stages.pairing.decisions import Decision, Verdict, append_decision
from stages.pairing.scores import MEASURED, QUALITY, score_named
from stages.review import agreement
from stages.review.agreement import LEAST, agree, agreement_lines, auc
from tests.support import ROOT


@pytest.fixture
def params(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(agreement, "measuring_digest", lambda _: "m" * 64)
    return read_params()


def write_decisions(path, kept: int, dropped: int, *, seed: int = 0, scored_by: str = "m" * 64) -> None:
    """Kept pairs score higher than dropped ones by half of the spread."""
    rng = np.random.default_rng(seed)
    for number in range(kept + dropped):
        scores = {name: float(rng.uniform(0.5 * (number < kept), 1)) for name in MEASURED}
        facts = {"source": f"{seed:032x}{number:032x}", "target": "f" * 64, "key": "k", "target_key": "t", "prompt": "a cat"}
        verdict = Verdict.KEEP if number < kept else Verdict.DROP
        decision = Decision(**facts, decision=verdict, time=datetime.now(UTC), scores=scores, scored_by=scored_by)
        append_decision(path, decision)


@pytest.mark.parametrize("levels", [3, 1000])
def test_auc_counts_ordered_pairs(levels):
    rng = np.random.default_rng(levels)
    good, bad = rng.integers(levels, size=40) + levels // 4.0, rng.integers(levels, size=31).astype(float)
    wins = [float(one > other) + 0.5 * float(one == other) for one in good for other in bad]
    assert auc(good, bad) == pytest.approx(np.mean(wins))


@pytest.mark.parametrize("name", ["prompt shown", "difference"])
def test_thresholds_by_brute_force(name):
    score = score_named(name)
    rng = np.random.default_rng(0)
    sign = 1 if score.is_better_high else -1
    kept, dropped = 0.3 * sign + rng.normal(size=50), rng.normal(size=40)
    found = agree(score, kept, dropped, 0.2, 200, 0)

    def shares(at: float) -> tuple[float, float]:
        refused = [value < at if sign > 0 else value > at for value in dropped]
        accepted = [value >= at if sign > 0 else value <= at for value in kept]
        return sum(refused) / len(refused), sum(accepted) / len(accepted)

    assert (found.present.dropped_refused, found.present.kept_accepted) == pytest.approx(shares(0.2))
    assert (found.best.dropped_refused, found.best.kept_accepted) == pytest.approx(shares(found.best.at))
    assert sum(shares(found.best.at)) == pytest.approx(max(sum(shares(at)) for at in [*kept, *dropped]))
    assert 0 <= found.low < found.auc < found.high <= 1


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Normal values one standard deviation apart: the AUC is Φ(1/√2) = 0.760."""
    score, rng = score_named("query"), np.random.default_rng(5)
    hits = 0
    for seed in range(100):
        found = agree(score, 1 + rng.normal(size=60), rng.normal(size=60), None, 100, seed)
        hits += found.low <= 0.760 <= found.high
    assert 88 <= hits <= 99


def test_the_table_names_every_score(tmp_path, params):
    path = tmp_path / "review.jsonl"
    write_decisions(path, 30, 25)
    lines = list(agreement_lines(path, params))
    assert lines[0] == "30 kept and 25 dropped pairs; 0 mended ones are neither"
    assert [line[:15].strip() for line in lines[2:-1]] == [score.name for score in QUALITY]
    shown = next(line for line in lines if line.startswith("prompt shown")).split()
    assert 0.6 < float(shown[2]) < 1
    assert len({len(line) for line in lines[2:-1] if "–" not in line}) == 1


def test_nothing_is_shown_below_the_least_number(tmp_path, params):
    path = tmp_path / "review.jsonl"
    assert len(list(agreement_lines(path, params))) == 2
    write_decisions(path, LEAST, LEAST - 1)
    assert list(agreement_lines(path, params))[1:] == [f"nothing is shown below {LEAST} kept and {LEAST} dropped pairs"]


def test_scores_of_other_models_are_left_out(tmp_path, params):
    path = tmp_path / "review.jsonl"
    write_decisions(path, LEAST, LEAST)
    write_decisions(path, 5, 4, seed=1, scored_by="o" * 64)
    lines = list(agreement_lines(path, params))
    assert lines[0].startswith(f"{LEAST} kept and {LEAST} dropped")
    assert lines[1] == "9 decisions are left out: other models, or none, measured their scores"
