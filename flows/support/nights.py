"""The check of a night's data before the training: logged to MLflow, compared with earlier nights, and shown as a table."""

from prefect import get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.settings import PREFECT_UI_URL

from flows.support.tasks import RETRIED, is_transient
from stages.core.errors import InputError
from stages.core.params_file import read_params

PAGE, SHOWN_NIGHTS = "nights", 30
COLUMNS = {
    "images": "counts/source",
    "filtered": "shares/ingest/filtered",
    "refused": "shares/ingest/refused",
    "duplicates": "shares/ingest/duplicates",
    "no caption": "shares/caption/dropped",
    "no edit": "shares/mutate/dropped",
    "no target": "shares/retrieve/dropped",
    "no mask": "shares/segment/dropped",
    "pairs": "counts/segment",
    "likeness": "scores/image_image/p50",
    "direction": "scores/directional/p50",
    "words": "words/p50",
}
"""Column of the table → the metric in it; medians where it has several."""


@task(retry_condition_fn=is_transient, **RETRIED)
def check_data(*, accept: bool) -> None:
    """Log what the night's data look like, publish the last nights as a table, and stop the run if the data have drifted.

    Data that are as the last night left them are checked again, but not logged again.

    Args:
        accept: whether to take the data as they are, as the norm from now on.

    Raises:
        InputError: the data lie outside the bounds of params.yaml, or cannot be read, or MLflow cannot be reached.
    """
    from stages.report.drift import find_drift
    from stages.report.night import data_digest, measure_night
    from stages.report.seen import FEW, count_new, find_refused, keep_seen, look, read_seen
    from stages.tracking import nights
    from stages.tracking.errors import store_errors_in_one_line
    from stages.tracking.store import connect

    params, night, seen = read_params(), measure_night(), look()
    data, new = data_digest(night), count_new(seen, read_seen())
    with store_errors_in_one_line():
        client = connect()
        comparable = nights.read_comparable(client, data, params.drift.nights + 1)  # one may have these data
        earlier = [each.metrics for each in comparable]
        stopped = None
        if not accept:
            stopped = find_refused(new, params.ingest.max_refused) or find_drift(night, earlier, params.drift)
        nights.log_night(client, night, data=data, stopped=stopped, is_norm=accept)
        shown = nights.read_nights(client, SHOWN_NIGHTS)
    if stopped is None and (accept or new is None or new.pictures >= FEW):  # a few stay new, until they are many
        keep_seen(seen)
    rows = [
        {"night": f"{each.started:%Y-%m-%d %H:%M}"}
        | {column: _shown(each.metrics[name]) if name in each.metrics else "" for column, name in COLUMNS.items()}
        | {"stopped": each.stopped or ""}
        for each in shown
    ]
    table = create_table_artifact(key=PAGE, table=rows, description=f"The data of the latest nights, {SHOWN_NIGHTS} at most")
    get_run_logger().info("the data of the latest nights: %s/artifacts/artifact/%s", PREFECT_UI_URL.value(), table)
    if stopped is not None:
        raise InputError(f"{stopped}; nothing was trained; the run's parameter accept_data takes such data as the norm")


@task(retry_condition_fn=is_transient, **RETRIED)
def log_speeds() -> None:
    """Add the speeds of the stages after the check to the night in MLflow.

    Raises:
        InputError: MLflow cannot be reached.
    """
    from stages.report.night import measure_speeds
    from stages.tracking import nights
    from stages.tracking.errors import store_errors_in_one_line
    from stages.tracking.store import connect

    with store_errors_in_one_line():
        nights.add_to_night(connect(), measure_speeds())


def _shown(value: float) -> float | int:
    return int(value) if value.is_integer() else round(value, 3)
