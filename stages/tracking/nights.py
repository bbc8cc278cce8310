"""The data of each night as a run of an experiment of its own, so that MLflow draws every number over the nights."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from mlflow.entities import Metric, Run, RunStatus
from mlflow.tracking import MlflowClient

from stages.tracking.store import ensure_experiment

EXPERIMENT = "iedit-nights"
# Tags of a run.
REASON = "iedit.stopped"  # why the night's data were not trained on
NORM = "iedit.norm"  # a night that was accepted by hand: earlier ones no longer count


@dataclass(frozen=True, kw_only=True)
class LoggedNight:
    """A night as it was logged."""

    started: datetime
    metrics: dict[str, float]
    stopped: str | None  # why its data were not trained on
    is_norm: bool  # accepted by hand, as the first of a new series


def log_night(client: MlflowClient, metrics: Mapping[str, float], *, stopped: str | None, is_norm: bool) -> None:
    """Log a night as a run, which has failed if its data are not to be trained on; see :class:`LoggedNight`."""
    now = int(time.time() * 1000)
    name = datetime.fromtimestamp(now / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    tags = ({} if stopped is None else {REASON: stopped}) | ({NORM: "true"} if is_norm else {})
    run = client.create_run(ensure_experiment(client, EXPERIMENT), run_name=name, tags=tags).info.run_id
    client.log_batch(run, [Metric(key, value, now, 0) for key, value in metrics.items()], synchronous=True)
    client.set_terminated(run, RunStatus.to_string(RunStatus.FINISHED if stopped is None else RunStatus.FAILED))


def read_nights(client: MlflowClient, most: int) -> list[LoggedNight]:
    """Return the latest nights, newest first; a night whose logging was cut off is left out."""
    found = client.search_runs(
        [ensure_experiment(client, EXPERIMENT)],
        "attributes.status != 'RUNNING'",
        max_results=most,
        order_by=["start_time DESC"],
    )
    return [_logged(run) for run in found]


def comparable(nights: list[LoggedNight]) -> list[dict[str, float]]:
    """Return the metrics of the nights that a new one is compared with, newest first.

    Those that were trained on, back to the newest that was accepted by hand.
    """
    found = []
    for night in nights:
        if night.stopped is None:
            found.append(night.metrics)
        if night.is_norm:
            break
    return found


def _logged(run: Run) -> LoggedNight:
    return LoggedNight(
        started=datetime.fromtimestamp(run.info.start_time / 1000, UTC),
        metrics=dict(run.data.metrics),
        stopped=run.data.tags.get(REASON),
        is_norm=NORM in run.data.tags,
    )
