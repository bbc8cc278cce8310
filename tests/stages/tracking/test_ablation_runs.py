"""The ablation in MLflow."""

import pytest

from stages.tracking import store
from stages.tracking.ablation_runs import PARENT, log_ablation
from tests.support.ablation import FOUND


def test_runs_are_nested_below_one(client):
    parent = log_ablation(FOUND, [])
    runs = client.search_runs([store.experiment_id(client)], f"tags.`{PARENT}` = '{parent}'")
    assert {run.info.run_name for run in runs} == {f"{name}, seed {seed}" for name, seed in FOUND}
    assert client.get_run(parent).info.run_name == "ablation"
    (run,) = [run for run in runs if run.info.run_name == "plain_noise, seed 1"]
    assert run.data.metrics["iedit/clip_score"] == pytest.approx(FOUND["plain_noise", 1]["iedit"]["clip_score"])
