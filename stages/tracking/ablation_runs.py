"""The ablation in MLflow: a run for each model, below one parent."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow.entities import Metric, Param

from stages.tracking.failures import failures_told
from stages.tracking.store import connect, experiment_id

PARENT = "mlflow.parentRunId"  # the tag by which MLflow nests runs


def log_ablation(found: Mapping[tuple[str, int], Mapping[str, Mapping[str, float]]], artifacts: Sequence[Path]) -> str:
    """Log the scores of every model as a run of its own below one parent, which has the tables; return the parent's id.

    Args:
        found: (configuration, seed) → system → metric → value.
        artifacts: files of the parent.

    Raises:
        InputError: the tracking server cannot be reached.
    """
    client = connect()
    with failures_told():
        experiment = experiment_id(client)
        parent = client.create_run(experiment, run_name="ablation", tags={"iedit.role": "ablation"}).info.run_id
        for (configuration, seed), systems in found.items():
            run = client.create_run(experiment, run_name=f"{configuration}, seed {seed}", tags={PARENT: parent}).info
            scores = [
                Metric(f"{system}/{name}", value, run.start_time, 0)
                for system, values in systems.items()
                for name, value in values.items()
            ]
            chosen = [Param("ablation", configuration), Param("train.seed", str(seed))]
            client.log_batch(run.run_id, metrics=scores, params=chosen, synchronous=True)
            client.set_terminated(run.run_id)
        for path in artifacts:
            client.log_artifact(parent, str(path))
        client.set_terminated(parent)
    return str(parent)
