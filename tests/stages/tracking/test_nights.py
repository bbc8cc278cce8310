"""Nights as runs: what is logged comes back, and which nights a new one is compared with."""

import time

import mlflow
from mlflow.tracking import MlflowClient

from stages.tracking import store
from stages.tracking.nights import EXPERIMENT, add_to_night, log_night, read_comparable, read_nights


def log(client: MlflowClient, metrics: dict[str, float], stopped: str | None = None, *, is_norm: bool = False) -> None:
    log_night(client, metrics, data=str(metrics), stopped=stopped, is_norm=is_norm)


def test_nights_come_back_newest_first(client):
    log(client, {"words/p50": 6.0, "shares/segment/dropped": 0.2})
    log(client, {"words/p50": 20.0}, "drift.max_ratio = 2.0: …")
    latest, first = read_nights(client, 30)
    assert (latest.metrics, latest.stopped, latest.is_norm) == ({"words/p50": 20.0}, "drift.max_ratio = 2.0: …", False)
    assert first.metrics == {"words/p50": 6.0, "shares/segment/dropped": 0.2}
    assert latest.data == "{'words/p50': 20.0}"
    assert first.started <= latest.started
    assert [night.metrics for night in read_nights(client, 1)] == [latest.metrics]
    experiment = client.get_experiment_by_name(EXPERIMENT)
    statuses = [run.info.status for run in client.search_runs([experiment.experiment_id], order_by=["start_time DESC"])]
    assert statuses == ["FAILED", "FINISHED"]
    assert client.search_runs([store.experiment_id(client)]) == []


def test_a_night_whose_logging_was_cut_off_is_left_out(client):
    log(client, {"words/p50": 6.0})
    experiment = client.get_experiment_by_name(EXPERIMENT)
    for status in ("RUNNING", "KILLED"):  # pruning ends what a kill has left open
        run = client.create_run(experiment.experiment_id).info.run_id
        client.update_run(run, status)
    assert [night.metrics for night in read_nights(client, 30)] == [{"words/p50": 6.0}]


def test_a_night_is_compared_with_those_since_the_norm(client):
    for words, stopped, is_norm in [(1.0, None, False), (2.0, None, True), (3.0, "why", False), (4.0, None, False)]:
        log(client, {"words/p50": words}, stopped, is_norm=is_norm)
    assert [night.metrics for night in read_comparable(client, "other data", 30)] == [{"words/p50": 4.0}, {"words/p50": 2.0}]
    assert [night.metrics for night in read_comparable(client, "{'words/p50': 2.0}", 30)] == [{"words/p50": 4.0}]
    assert len(read_comparable(client, "other data", 1)) == 1


def test_data_are_logged_again_only_when_accepted(client):
    for is_norm in (False, False, True, True, False):
        log(client, {"words/p50": 6.0}, is_norm=is_norm)
    for stopped in ("why", "why", "another reason"):
        log(client, {"words/p50": 6.0}, stopped)
    log(client, {"words/p50": 6.0})
    logged = [(night.stopped, night.is_norm) for night in read_nights(client, 30)]
    assert logged == [("another reason", False), ("why", False), (None, True), (None, False)]


def test_speeds_are_added_to_the_night_that_passed(client):
    add_to_night(client, {"speed/train": 1.0})  # before the first night
    log(client, {"words/p50": 6.0})
    log(client, {"words/p50": 6.5})
    log(client, {"words/p50": 20.0}, "drift.max_ratio = 2.0: …")
    add_to_night(client, {"speed/train": 2.0})
    assert [night.metrics.get("speed/train") for night in read_nights(client, 30)] == [None, 2.0, None]


def test_both_experiments_say_that_they_hold_trainings(client):
    read_nights(client, 1)
    client.set_experiment_tag(mlflow.create_experiment("other"), "mlflow.experimentKind", "no_inferred_type")
    kinds = {each.name: each.tags.get("mlflow.experimentKind") for each in client.search_experiments()}
    assert kinds[store.EXPERIMENT] == kinds[EXPERIMENT] == "custom_model_development"


def test_a_clock_set_back_does_not_mix_up_nights(client, monkeypatch):
    """A night that was logged while the clock was a year ahead is not the latest for a year."""
    now = time.time()
    for words, ahead, is_norm in [(1.0, 0, False), (2.0, 365 * 86400, True), (3.0, 0, False), (4.0, 86400, False)]:
        monkeypatch.setattr(time, "time", lambda ahead=ahead: now + ahead)
        log(client, {"words/p50": words}, is_norm=is_norm)
    add_to_night(client, {"speed/train": 1.0})
    assert [night.metrics["words/p50"] for night in read_nights(client, 30)] == [4.0, 3.0, 2.0, 1.0]
    assert [night.metrics["words/p50"] for night in read_comparable(client, "other data", 30)] == [4.0, 3.0, 2.0]
    assert read_nights(client, 1)[0].metrics["speed/train"] == 1.0
