"""Runs of the project's experiment: making one, finding one, and adding an evaluation's results."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param, Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from stages.core.params import Params
from stages.core.paths import PARAMS_FILE
from stages.tracking.lineage import git_tags, libraries
from stages.tracking.location import dvc_experiment
from stages.tracking.store import connect, experiment_id

# Tags of a run.
MODEL_DIGEST = "iedit.model_digest"
EXPERIMENT = "iedit.experiment"  # the name of the DVC experiment
ROLE = "iedit.role"  # the stage that made the run
LIBRARIES = "libraries.json"  # an artifact of every run
MAX_METRICS, MAX_PARAMS = 1000, 100  # limits of one request
MAX_VALUE = 500  # characters of a parameter that any server accepts; params.yaml is logged whole as an artifact


def create_run(client: MlflowClient, stage: str, params: Params, tags: Mapping[str, str]) -> str:
    """Create a run with the inputs that every stage has in common, and return its id.

    The run is named after the stage or, inside a DVC experiment, after the experiment. It gets params.yaml, both as flat
    parameters and as a file, the commit, and the versions of all libraries.

    Args:
        client: a client of the store.
        stage: the stage that makes the run.
        params: all of params.yaml.
        tags: further tags.
    """
    experiment = dvc_experiment()
    experiment_tag = {} if experiment is None else {EXPERIMENT: experiment}
    all_tags = {**git_tags(), ROLE: stage, **experiment_tag, **tags}
    run_id = str(client.create_run(experiment_id(client), run_name=experiment or stage, tags=all_tags).info.run_id)
    values = [Param(name, text) for name, text in flatten(params.model_dump(mode="json")).items()]
    for start in range(0, len(values), MAX_PARAMS):
        client.log_batch(run_id, params=values[start : start + MAX_PARAMS], synchronous=True)
    client.log_artifact(run_id, str(PARAMS_FILE))
    client.log_dict(run_id, libraries(), LIBRARIES)
    return run_id


def find_run(model_digest: str) -> str | None:
    """Return the id of the newest run that trained the model with this digest."""
    client = connect()
    runs = client.search_runs(
        [experiment_id(client)], f"tags.`{MODEL_DIGEST}` = '{model_digest}'", max_results=1, order_by=["start_time DESC"]
    )
    return str(runs[0].info.run_id) if runs else None


def read_run(client: MlflowClient, run_id: str) -> Run | None:
    """Return a run, or None if it was deleted for good; one of a deleted experiment can still be read."""
    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def run_for_results(trained: str | None, params: Params) -> str | None:
    """Return the run that an evaluation is logged to.

    That is the run that trained the model. In a DVC experiment that trained nothing it is a run of the experiment's own.

    Args:
        trained: the id of the run that trained the model, if the store has it.
        params: all of params.yaml.
    """
    experiment, client = dvc_experiment(), connect()
    if experiment is None or (trained is not None and client.get_run(trained).data.tags.get(EXPERIMENT) == experiment):
        return trained
    wanted = f"tags.`{EXPERIMENT}` = '{experiment}' and tags.`{ROLE}` = 'evaluate'"
    found = client.search_runs([experiment_id(client)], wanted, max_results=1)
    if found:
        return str(found[0].info.run_id)
    made = create_run(client, "evaluate", params, {})
    client.set_terminated(made)  # results are added to an ended run, as to that of a training
    return made


def log_results(run_id: str, metrics: Mapping[str, float], artifacts: Sequence[Path] = ()) -> None:
    """Add an evaluation to a run: metrics named ``evaluate/…``, and files in the folder ``evaluate``."""
    client = connect()
    now = int(time.time() * 1000)
    values = [Metric(f"evaluate/{key}", float(value), now, 0) for key, value in metrics.items()]
    for start in range(0, len(values), MAX_METRICS):
        client.log_batch(run_id, metrics=values[start : start + MAX_METRICS], synchronous=True)
    for path in artifacts:
        client.log_artifact(run_id, str(path), "evaluate")


def flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """Return a nested value as dotted names with text, ``{"train.losses.noise": "mask"}``; a list stays one value."""
    if not isinstance(value, dict):
        return {prefix: str(value)[:MAX_VALUE]}
    return {
        name: text for key, part in value.items() for name, text in flatten(part, f"{prefix}.{key}" if prefix else key).items()
    }
