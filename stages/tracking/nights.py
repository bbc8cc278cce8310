"""The data of each night as a run of an experiment of its own, so that MLflow draws every number over the nights."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mlflow.entities import Metric, Run, RunStatus
from mlflow.tracking import MlflowClient

from stages.tracking.store import ensure_experiment

EXPERIMENT = "iedit-nights"
# Tags of a run.
REASON = "iedit.stopped"  # why the night's data were not trained on
NORM = "iedit.norm"  # a night that was accepted by hand: earlier ones no longer count
DATA = "iedit.data"
LATEST_FIRST = ["start_time DESC"]


@dataclass(frozen=True, kw_only=True)
class LoggedNight:
    """A night as it was logged."""

    started: datetime
    metrics: dict[str, float]
    data: str  # a digest of what the data look like
    stopped: str | None  # why its data were not trained on
    is_norm: bool  # accepted by hand, as the first of a new series


def log_night(client: MlflowClient, metrics: Mapping[str, float], *, data: str, stopped: str | None, is_norm: bool) -> None:
    """Log a night as a run, which has failed if its data are not to be trained on; see :class:`LoggedNight`.

    A run that starts again, or finds the data as the last one left them, logs nothing: no state of the data counts twice.
    Nights are read in the order of their starts, so each starts after the one before it, also where the clock was set back.
    """
    status = RunStatus.to_string(RunStatus.FINISHED if stopped is None else RunStatus.FAILED)
    for last in _search(client, f"attributes.status = '{status}'", 1):
        if (last.data, last.stopped) == (data, stopped) and (last.is_norm or not is_norm):
            return
    started = datetime.fromtimestamp(time.time(), UTC)
    for last in read_nights(client, 1):
        started = max(started, last.started + timedelta(seconds=1))
    now = int(started.timestamp() * 1000)
    tags = {DATA: data} | ({} if stopped is None else {REASON: stopped}) | ({NORM: "true"} if is_norm else {})
    experiment, name = ensure_experiment(client, EXPERIMENT), f"{started:%Y-%m-%d %H:%M}"
    run = client.create_run(experiment, start_time=now, run_name=name, tags=tags).info.run_id
    client.log_batch(run, [Metric(key, value, now, 0) for key, value in metrics.items()], synchronous=True)
    client.set_terminated(run, status)


def add_to_night(client: MlflowClient, metrics: Mapping[str, float]) -> None:
    """Log what was measured after the check of a night's data to the run of the latest night that passed it."""
    experiment, now = ensure_experiment(client, EXPERIMENT), int(time.time() * 1000)
    for run in client.search_runs([experiment], "attributes.status = 'FINISHED'", max_results=1, order_by=LATEST_FIRST):
        client.log_batch(run.info.run_id, [Metric(key, value, now, 0) for key, value in metrics.items()], synchronous=True)


def read_nights(client: MlflowClient, most: int) -> list[LoggedNight]:
    """Return the latest nights, newest first; a night whose logging was cut off is left out."""
    return _search(client, "attributes.status != 'RUNNING' and attributes.status != 'KILLED'", most)


def read_comparable(client: MlflowClient, data: str, most: int) -> list[LoggedNight]:
    """Return the nights that data are compared with, newest first.

    Those whose data passed the check, whatever became of the training, back to the newest that was accepted by hand.

    Args:
        client: a client of the store.
        data: the digest of the data; a night with the same data is left out.
        most: how many nights to look at; those that were stopped are not among them.
    """
    found = []
    for night in _search(client, "attributes.status = 'FINISHED'", most):
        if night.data != data:
            found.append(night)
        if night.is_norm:
            break
    return found


def _search(client: MlflowClient, condition: str, most: int) -> list[LoggedNight]:
    experiment = ensure_experiment(client, EXPERIMENT)
    runs = client.search_runs([experiment], condition, max_results=most, order_by=LATEST_FIRST)
    return [_logged(run) for run in runs]


def _logged(run: Run) -> LoggedNight:
    return LoggedNight(
        started=datetime.fromtimestamp(run.info.start_time / 1000, UTC),
        metrics=dict(run.data.metrics),
        data=run.data.tags.get(DATA, ""),
        stopped=run.data.tags.get(REASON),
        is_norm=NORM in run.data.tags,
    )
