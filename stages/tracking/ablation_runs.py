"""The ablation in MLflow: one run per model, all nested below one parent."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow.entities import Metric, Param

from stages.tracking.errors import store_errors_in_one_line
from stages.tracking.store import connect, experiment_id

PARENT = "mlflow.parentRunId"  # the tag that MLflow nests runs by


def log_ablation(found: Mapping[tuple[str, int], Mapping[str, Mapping[str, float]]], artifacts: Sequence[Path]) -> str:
    """Log each model's scores as a run below one parent run, which gets the tables; return the parent's id.

    Args:
        found: (configuration, seed) → system → metric → value.
        artifacts: files of the parent run.

    Raises:
        InputError: the tracking server cannot be reached.
    """
    client = connect()
    with store_errors_in_one_line():
        experiment = experiment_id(client)
        parent = client.create_run(experiment, run_name="ablation", tags={"iedit.role": "ablation"}).info.run_id
        for (configuration, seed), systems in found.items():
            run = client.create_run(experiment, run_name=f"{configuration}, seed {seed}", tags={PARENT: parent}).info
            scores = [
                Metric(f"{system}/{name}", value, run.start_time, 0)
                for system, values in systems.items()
                for name, value in values.items()
            ]
            settings = [Param("ablation", configuration), Param("train.seed", str(seed))]
            client.log_batch(run.run_id, metrics=scores, params=settings, synchronous=True)
            client.set_terminated(run.run_id)
        for path in artifacts:
            client.log_artifact(parent, str(path))
        client.set_terminated(parent)
    return str(parent)
