"""Nights as runs: what is logged comes back, and which nights a new one is compared with."""

import mlflow

from stages.tracking import store
from stages.tracking.nights import EXPERIMENT, comparable, log_night, read_nights


def test_nights_come_back_newest_first(client):
    log_night(client, {"words/p50": 6.0, "shares/segment/dropped": 0.2}, stopped=None, is_norm=False)
    log_night(client, {"words/p50": 20.0}, stopped="drift.max_ratio = 2.0: …", is_norm=False)
    latest, first = read_nights(client, 30)
    assert (latest.metrics, latest.stopped, latest.is_norm) == ({"words/p50": 20.0}, "drift.max_ratio = 2.0: …", False)
    assert first.metrics == {"words/p50": 6.0, "shares/segment/dropped": 0.2}
    assert first.started <= latest.started
    assert [night.metrics for night in read_nights(client, 1)] == [latest.metrics]
    experiment = client.get_experiment_by_name(EXPERIMENT)
    statuses = [run.info.status for run in client.search_runs([experiment.experiment_id], order_by=["start_time DESC"])]
    assert statuses == ["FAILED", "FINISHED"]
    assert client.search_runs([store.experiment_id(client)]) == []


def test_a_night_is_compared_with_those_since_the_norm(client):
    for words, stopped, is_norm in [(1.0, None, False), (2.0, None, True), (3.0, "why", False), (4.0, None, False)]:
        log_night(client, {"words/p50": words}, stopped=stopped, is_norm=is_norm)
    assert comparable(read_nights(client, 30)) == [{"words/p50": 4.0}, {"words/p50": 2.0}]


def test_the_first_page_of_both_experiments_shows_runs(client):
    read_nights(client, 1)
    client.set_experiment_tag(mlflow.create_experiment("other"), "mlflow.experimentKind", "no_inferred_type")
    kinds = {each.name: each.tags.get("mlflow.experimentKind") for each in client.search_experiments()}
    assert kinds[store.EXPERIMENT] == kinds[EXPERIMENT] == "custom_model_development"
