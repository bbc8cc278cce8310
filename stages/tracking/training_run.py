"""A training in MLflow: what went in, every step's losses, checkpoints and pictures, and what came out."""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from mlflow.entities import Dataset, DatasetInput, FileInfo, InputTag, Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from PIL import Image

from stages.core.files import read_json, value_digest, write_json
from stages.core.params import Params
from stages.tracking.failures import failures_told
from stages.tracking.lineage import git_tags, libraries, pipeline_digest
from stages.tracking.outbox import Outbox
from stages.tracking.store import connect, experiment_id

MODEL_DIGEST, TRAINING, EXPERIMENT = "iedit.model_digest", "iedit.training", "iedit.experiment"  # tags of a run
ROLE = "iedit.role"  # the stage that made the run
LIBRARIES = "libraries.json"  # an artifact of a run
MAX_METRICS, MAX_PARAMS = 1000, 100  # of one request
MAX_VALUE = 500  # characters of a parameter on any server; the whole of params.yaml is an artifact
MAX_DATASET_DIGEST = 36
FLUSH_SECONDS = 5


class TrainingRun:
    """An open MLflow run. Steps are sent in batches, so that a step costs next to nothing.

    A server that goes away stops no training: what is logged is kept in memory until it is back, and what a kill takes
    from there is logged again by the next run of the stage, from the losses beside the checkpoints.
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.run_id = run_id
        self.is_finished = False
        self._client = client
        self._outbox = Outbox()
        self._waiting: list[Metric] = []
        self._flushed = time.monotonic()
        self._last_step = self._read_last_step()

    def log_step(self, step: int, values: Mapping[str, float]) -> None:
        """Log the metrics of a step. A step that was logged before, as a resumed training does it again, is passed over."""
        if step <= self._last_step:
            return
        self._last_step = step
        if len(self._waiting) + len(values) > MAX_METRICS:
            self.flush()  # before the step is added: a request has all metrics of a step or none, whenever a kill comes
        now = int(time.time() * 1000)
        self._waiting += [Metric(key, float(value), now, step) for key, value in values.items()]
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def log_steps(self, steps: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        """Log what the run lacks of the steps so far: a kill came before they were sent, or the run had to be made anew."""
        for step, values in steps:
            self.log_step(step, values)

    def log_image(self, name: str, image: Image.Image, step: int) -> None:
        """Log a picture of a step, shown beside those of other steps."""
        self._outbox.put(partial(self._client.log_image, self.run_id, image, key=name, step=step, synchronous=True))

    def log_artifact(self, path: Path, folder: str) -> None:
        """Log a file, for example a checkpoint, below ``folder``; the steps so far are sent first."""
        self.flush()
        self._outbox.put(partial(self._send_artifact, path, folder))

    def has_artifact(self, path: Path, folder: str) -> bool:
        """Tell whether a file is known to be logged whole below ``folder``; while the server is away, it is not."""
        place, size = f"{folder}/{path.name}", path.stat().st_size
        found: list[FileInfo] = []
        self._outbox.put(lambda: found.extend(self._client.list_artifacts(self.run_id, folder)))
        return any((item.path, item.file_size) == (place, size) for item in found)

    def finish(self, model_digest: str) -> None:
        """Say that the training is done and which model came out; later starts begin a new run.

        Raises:
            InputError: the tracking server is away and does not come back.
        """
        self._outbox.put(partial(self._client.set_tag, self.run_id, MODEL_DIGEST, model_digest))
        self.end("FINISHED")
        self._outbox.empty()
        self.is_finished = True

    def end(self, status: str) -> None:
        """Send what waits, and how the run ended."""
        self.flush()
        self._outbox.put(partial(self._client.set_terminated, self.run_id, status))

    def flush(self) -> None:
        """Send the steps that wait; of a server that is away, see the class."""
        if self._waiting:
            self._outbox.put(partial(self._client.log_batch, self.run_id, metrics=self._waiting, synchronous=True))
        self._waiting = []
        self._flushed = time.monotonic()

    def _send_artifact(self, path: Path, folder: str) -> None:
        if path.exists():  # else a later checkpoint took its place while the server was away
            self._client.log_artifact(self.run_id, str(path), folder)

    def _read_last_step(self) -> int:
        histories = (
            self._client.get_metric_history(self.run_id, key) for key in self._client.get_run(self.run_id).data.metrics
        )
        return max((metric.step for history in histories for metric in history), default=-1)


@contextmanager
def start_training(
    params: Params,
    params_file: Path,
    *,
    state_file: Path,
    dataset: Path,
    dataset_digest: str,
    samples: int,
    stage: str = "train",
) -> Iterator[TrainingRun]:
    """Open the run of a training; one that a kill, an error or Ctrl-C left unfinished is gone on with.

    What waits is sent when the block ends, well or not. The run ends FINISHED after :meth:`TrainingRun.finish`, KILLED
    when interrupted, and FAILED otherwise.

    Args:
        params: the whole of params.yaml, logged flat.
        params_file: logged as it is.
        state_file: keeps the id of the unfinished run, beside the checkpoints.
        dataset: the folder of the training set, relative to the project.
        dataset_digest: of the training set.
        samples: of the training set.
        stage: that trains.

    Raises:
        InputError: the tracking server cannot be reached; one that goes away later is waited for at the end.
    """
    client = connect()
    with failures_told():
        run_id = _open_run(client, params, params_file, state_file, dataset, dataset_digest, samples, stage)
        run = TrainingRun(client, run_id)
        try:
            yield run
        except BaseException as error:
            with suppress(MlflowException):  # the store may be what failed; the first error is the one to tell
                run.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise
        if not run.is_finished:
            run.end("FAILED")
    if run.is_finished:
        state_file.unlink()


def find_run(model_digest: str) -> str | None:
    """Return the id of the newest run that made the model with this digest."""
    client = connect()
    runs = client.search_runs(
        [experiment_id(client)], f"tags.`{MODEL_DIGEST}` = '{model_digest}'", max_results=1, order_by=["start_time DESC"]
    )
    return str(runs[0].info.run_id) if runs else None


def run_of_results(trained: str | None, params: Params, params_file: Path) -> str | None:
    """Return the run that an evaluation belongs to: of the training or, in an experiment that trained nothing, its own."""
    experiment, client = dvc_experiment(), connect()
    if experiment is None or (trained is not None and client.get_run(trained).data.tags.get(EXPERIMENT) == experiment):
        return trained
    wanted = f"tags.`{EXPERIMENT}` = '{experiment}' and tags.`{ROLE}` = 'evaluate'"
    found = client.search_runs([experiment_id(client)], wanted, max_results=1)
    return str(found[0].info.run_id) if found else create_run(client, "evaluate", params, params_file, {})


def log_results(run_id: str, metrics: Mapping[str, float], artifacts: Sequence[Path] = ()) -> None:
    """Add an evaluation to a run: metrics named ``evaluate/…``, and files below ``evaluate``."""
    client = connect()
    now = int(time.time() * 1000)
    values = [Metric(f"evaluate/{key}", float(value), now, 0) for key, value in metrics.items()]
    for start in range(0, len(values), MAX_METRICS):
        client.log_batch(run_id, metrics=values[start : start + MAX_METRICS], synchronous=True)
    for path in artifacts:
        client.log_artifact(run_id, str(path), "evaluate")


def flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """Return a nested value as dotted names with text: ``{"train.losses.noise": "mask"}``; lists stay one value."""
    if not isinstance(value, dict):
        return {prefix: str(value)[:MAX_VALUE]}
    return {
        name: text for key, part in value.items() for name, text in flatten(part, f"{prefix}.{key}" if prefix else key).items()
    }


def _open_run(
    client: MlflowClient,
    params: Params,
    params_file: Path,
    state_file: Path,
    dataset: Path,
    dataset_digest: str,
    samples: int,
    stage: str,
) -> str:
    """Return the run of this training that is unfinished, or else a new one.

    The name that the run is found by is written down before the run is made, so that a kill leaves none behind.
    """
    sections = {name: getattr(params, name).model_dump(mode="json") for name in {"train", stage}}
    key = value_digest({"seed": params.seed, **sections, "dataset": dataset_digest, "experiment": dvc_experiment()})
    name = _read_name(state_file, key)
    if name is None:
        name = uuid4().hex
        write_json(state_file, {"training": key, "name": name})
    elif (run_id := _unfinished_run(client, name)) is not None:
        client.update_run(run_id, status="RUNNING")
        return run_id
    return _create_run(client, params, params_file, dataset, dataset_digest, samples, name, stage)


def _read_name(state_file: Path, key: str) -> str | None:
    """Return the name of the unfinished run, if there is one and it is of the training that is known by ``key``."""
    if not state_file.exists():
        return None
    try:
        state = read_json(state_file)
        training, name = str(state["training"]), str(state["name"])
    except (ValueError, LookupError, TypeError):
        print(f"{state_file}: damaged; the training is logged as a new run", file=sys.stderr)
        return None
    return name if training == key else None


def _unfinished_run(client: MlflowClient, name: str) -> str | None:
    for run in client.search_runs([experiment_id(client)], f"tags.`{TRAINING}` = '{name}'"):
        if run.inputs is not None and run.inputs.dataset_inputs:  # they are logged last
            return str(run.info.run_id)
        client.delete_run(run.info.run_id)  # a kill came while it was made
    return None


def _create_run(
    client: MlflowClient,
    params: Params,
    params_file: Path,
    dataset: Path,
    dataset_digest: str,
    samples: int,
    name: str,
    stage: str,
) -> str:
    lineage = {"iedit.pipeline_digest": pipeline_digest(stage), "iedit.dataset_digest": dataset_digest}
    run_id = create_run(client, stage, params, params_file, {**lineage, "iedit.samples": str(samples), TRAINING: name})
    training_set = Dataset(
        name=dataset.name,
        digest=dataset_digest[:MAX_DATASET_DIGEST],
        source_type="local",
        source=json.dumps({"uri": dataset.as_posix()}),
        profile=json.dumps({"num_samples": samples}),
    )
    client.log_inputs(run_id, [DatasetInput(training_set, [InputTag("mlflow.data.context", "training")])])
    return run_id


def create_run(client: MlflowClient, stage: str, params: Params, params_file: Path, tags: Mapping[str, str]) -> str:
    """Return the id of a new run with all that a stage starts from; in an experiment of DVC it has that one's name."""
    experiment = dvc_experiment()
    named = {} if experiment is None else {EXPERIMENT: experiment}
    all_tags = {**git_tags(), ROLE: stage, **named, **tags}
    run_id = str(client.create_run(experiment_id(client), run_name=experiment or stage, tags=all_tags).info.run_id)
    values = [Param(name, text) for name, text in flatten(params.model_dump(mode="json")).items()]
    for start in range(0, len(values), MAX_PARAMS):
        client.log_batch(run_id, params=values[start : start + MAX_PARAMS], synchronous=True)
    client.log_artifact(run_id, str(params_file))
    client.log_dict(run_id, libraries(), LIBRARIES)
    return run_id


def dvc_experiment() -> str | None:
    """Return the name of the experiment that DVC runs this process for, if it does."""
    return os.environ.get("DVC_EXP_NAME") or None
