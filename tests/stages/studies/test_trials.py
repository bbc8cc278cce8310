"""Choosing settings, the curves, and the ablation's table: what is tried, and what it is judged by."""

import csv
import io
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from stages.comparison.systems import MODEL
from stages.comparison.trials import Trial, run_trials
from stages.core.files import read_json
from stages.core.params import Params
from stages.metrics.intervals import Interval
from stages.metrics.scores import SystemScores
from stages.metrics.table import METRICS
from stages.report.ablation_table import ROWS, SEEDS, SHOWN, ablation_csv, ablation_markdown
from stages.report.plots import Curve, Point, plot_tradeoff
from stages.retrieve import retrieve
from stages.segment import segment
from stages.studies import tradeoff, tune
from stages.studies.ablation import score_model
from stages.tracking import store
from stages.tracking.ablation_runs import PARENT, log_ablation
from tests.support import ROOT
from tests.support.composed import composed
from tests.support.tiny_corpus import write_training_pairs, write_world

OF_SET = ("frechet_judge_features", "kid_judge_features")


def trial(system: str, success: float, kept: float, **settings: float) -> Trial:
    per_case = {metric.key: np.full(4, 50.0) for metric in METRICS if metric.key not in OF_SET}
    per_case |= {"edit_success": np.array([success - 1, success + 1, success, np.nan]), "ssim_m_bar_frame": np.full(4, kept)}
    of_set = {name: Interval(value=1, low=0, high=2, n=4) for name in OF_SET}
    return Trial(system=system, settings=settings, scores=SystemScores(per_case=per_case, of_set=of_set))


class TestTune:
    def test_every_system_has_as_many_trials_and_none_twice(self):
        assert set(tune.GRIDS) == {"sdedit", "inpainting", "instruct_pix2pix", "iedit", "iedit_m"}
        for grid in tune.GRIDS.values():
            assert len({tuple(sorted(settings.items())) for settings in grid}) == len(grid) == 12

    def test_criterion_is_the_harmonic_mean_and_gives_nothing_for_one_half_alone(self):
        assert tune.criterion(trial("sdedit", 80, 40)) == pytest.approx(2 / (1 / 80 + 1 / 40))
        assert tune.criterion(trial("sdedit", 70, 70)) == pytest.approx(70)
        assert tune.criterion(trial("sdedit", 0, 100)) == 0

    def test_the_best_of_each_system_is_told_with_the_parameters_that_it_is_set_by(self):
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
        told = tune.best_table(trials)
        assert "| SDEdit | 2 | `evaluate.systems.sdedit.strength=0.6`, `evaluate.systems.sdedit.guidance_scale=2` |" in told
        assert "| 1 | `evaluate.systems.inpainting.guidance_scale=3` |" in told
        assert "`sampling.strength=0.7`" in told

    def test_parameters_that_are_told_are_parameters(self):
        for system, grid in tune.GRIDS.items():
            for name in set(grid[0]) - ({"strength"} if system == "inpainting" else set()):
                Params.model_validate(composed(f"{tune.KEYS[system]}.{name}={grid[0][name]}"))


class TestTrials:
    @pytest.fixture
    def params(self, models, workplace) -> Params:
        params = write_training_pairs(models, evaluate={"validation": "data/training"})
        for name in ("iedit", "instruct_pix2pix"):
            shutil.copytree(models.diffusion.name, f"models/{name}")
        return params

    def test_what_was_tried_is_kept_and_settings_and_masks_matter(self, params, monkeypatch):
        wanted = {
            "sdedit": [{"strength": 1.0, "guidance_scale": 1.0}, {"strength": 1.0, "guidance_scale": 5.0}],
            "iedit_m": [{"strength": 1.0, "guidance_scale": 5.0}],
        }
        found = list(run_trials(params, "validation", wanted, Path("data/tuned")))
        assert [each.system for each in found] == ["sdedit", "sdedit", "iedit_m"]
        kept = [each.scores.per_case["ssim_m_bar_frame"] for each in found]
        assert all((one != other).any() for one, other in pairwise(kept))
        monkeypatch.setattr("stages.editing.editor.Editor.edit_batch", lambda *_, **__: pytest.fail("it was made again"))
        again = list(run_trials(params, "validation", wanted, Path("data/tuned")))
        for one, other in zip(found, again, strict=True):
            np.testing.assert_array_equal(one.scores.per_case["clip_score"], other.scores.per_case["clip_score"])

    def test_rows_of_the_ablation_are_sampled_alike(self, params):
        sampling = params.sampling.model_copy(update={"guidance_scale": 5.0})
        score_model(params.model_copy(update={"sampling": sampling}), MODEL, Path("scores.json"), ["iedit", "iedit_m"])
        scores = read_json(Path("scores.json"))
        for guidance, is_that in ((5.0, True), (1.0, False)):
            wanted = {system: [{"guidance_scale": guidance}] for system in ("iedit", "iedit_m")}
            for found in run_trials(params, "evaluation", wanted, Path("data/tuned")):
                same = found.scores.per_case["clip_score"].mean() == pytest.approx(scores[found.system]["clip_score"])
                assert same == is_that
        score_model(params, MODEL, Path("scores.json"), ["iedit"])
        assert set(read_json(Path("scores.json"))) == {"iedit"}

    def test_a_folder_for_both_is_shared_out_without_a_common_image(self, params):
        from stages.comparison.cases import read_cases
        from stages.core.shards import list_shards

        write_world(4)
        values = params.model_dump(mode="json")
        values["retrieve"] |= {"held_out": 1.0, "max_uses": 1}
        values["evaluate"] |= {"cases": "data/heldout", "validation": "data/heldout", "max_cases": 100}
        params = Params.model_validate(values)
        retrieve(params)
        segment(params)
        shards = list_shards(Path("data/heldout"), ".tar")
        images = {}
        for split in ("evaluation", "validation"):
            cases = [case.sample for case in read_cases(shards, params, split)]
            images[split] = {key for case in cases for key in (case.key, case.metadata["target_key"])}
        assert images["evaluation"].isdisjoint(images["validation"])


class TestTradeoff:
    def test_lines_run_over_strengths_and_for_instruct_pix2pix_over_image_guidance(self):
        wanted = tradeoff._wanted(Params.model_validate(composed()))
        assert set(wanted) == set(tune.GRIDS)
        for system, settings in wanted.items():
            varied = "image_guidance_scale" if system == "instruct_pix2pix" else "strength"
            assert len({each[varied] for each in settings}) == 6
            assert len({each["guidance_scale"] for each in settings}) == 1

    def test_a_point_has_its_interval(self):
        params = Params.model_validate(composed("evaluate.bootstrap=20"))
        (row,) = csv.DictReader(io.StringIO(tradeoff.curve_table([trial("sdedit", 80, 70, strength=0.4)], params)))
        assert (row["varied"], row["value"], row["cases"]) == ("strength", "0.4", "4")
        assert float(row["edit_success_low"]) <= float(row["edit_success"]) == 80 <= float(row["edit_success_high"])

    def test_every_curve_is_drawn_and_twice_the_same(self):
        curves = [
            Curve(name=name, points=[Point(label="0.4", x=1, y=2), Point(label="0.9", x=2, y=1)]) for name in ("a<b", "c")
        ]
        assert plot_tradeoff(curves) == plot_tradeoff(curves)
        assert "a&lt;b" in plot_tradeoff(curves)


FOUND = {
    (row.configuration, seed): {
        system: dict.fromkeys(SHOWN, 50.0 + place + (16 if system == "iedit_m" else 0) + seed / 10)
        for system in ("iedit", "iedit_m")
    }
    for place, row in enumerate(ROWS.values())
    for seed in range(SEEDS)
}

LOSSES = {
    row.configuration: Params.model_validate(composed(f"ablation={row.configuration}")).train.losses for row in ROWS.values()
}


class TestAblation:
    def test_every_row_is_a_configuration_that_is_allowed(self):
        names = {path.stem for path in (ROOT / "conf/ablation").glob("*.yaml")}
        assert {row.configuration for row in ROWS.values()} == names
        for name in names:
            Params.model_validate(composed(f"ablation={name}"))

    def test_table_has_mean_and_spread_and_says_what_holds(self):
        lines = ablation_markdown(FOUND, LOSSES).splitlines()
        assert [line.split(" | ")[0] for line in lines[2 : 2 + len(ROWS)]] == [f"| {name}" for name in ROWS]
        assert "50.10 ± 0.10" in lines[2]
        masks = next(line for line in lines if line.startswith("| Predicted masks"))
        assert masks.endswith(" at least 15 points | paper_masked, paper | 16.00 ± 0.00 | 3 of 3 | yes |")
        assert len(list(csv.DictReader(io.StringIO(ablation_csv(FOUND))))) == len(FOUND) * 2 * len(SHOWN)

    def test_table_has_as_many_seeds_as_there_are(self):
        two = {(name, seed): scores for (name, seed), scores in FOUND.items() if seed < 2}
        text = ablation_markdown(two, LOSSES)
        assert "Mean ± standard deviation of 2 trainings" in text
        assert "| 16.00 ± 0.00 | 2 of 2 | yes |" in text

    def test_runs_are_nested_below_one(self, workplace):
        parent = log_ablation(FOUND, [])
        client = store.connect()
        runs = client.search_runs([store.experiment_id(client)], f"tags.`{PARENT}` = '{parent}'")
        assert {run.info.run_name for run in runs} == {f"{name}, seed {seed}" for name, seed in FOUND}
        assert client.get_run(parent).info.run_name == "ablation"
        (run,) = [run for run in runs if run.info.run_name == "plain_noise, seed 1"]
        assert run.data.metrics["iedit/clip_score"] == pytest.approx(FOUND["plain_noise", 1]["iedit"]["clip_score"])
