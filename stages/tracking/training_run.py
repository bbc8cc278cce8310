"""The MLflow run of a training: its inputs, the losses of every step, checkpoints, pictures, and the resulting model."""

import json
import math
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import uuid4

from mlflow.entities import Dataset, DatasetInput, FileInfo, InputTag, Metric, Param
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient
from PIL import Image
from tqdm import tqdm

from stages.core.errors import first_line
from stages.core.files import read_json, value_digest, write_json
from stages.core.params import Params
from stages.tracking.errors import STORE_ERRORS, store_errors_in_one_line, without_credentials
from stages.tracking.lineage import pipeline_digest
from stages.tracking.location import dvc_experiment
from stages.tracking.outbox import BesideTraining
from stages.tracking.runs import MAX_METRICS, MODEL_DIGEST, create_run, flatten
from stages.tracking.store import connect, experiment_id

TRAINING = "iedit.training"  # a tag of a run: the name by which a resumed training finds it
CHECKPOINTS = "checkpoints"  # the folder of a run that gets them
LORAS = "lora"  # the folder of a run that gets the LoRA of each checkpoint, if one is trained
MAX_DATASET_DIGEST = 36  # characters
FLUSH_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class TrainingInputs:
    """The inputs of a training, logged with its run."""

    stage: str  # "train" or "instruct"
    params: Params  # all of params.yaml
    dataset: Path  # the folder of the training set, relative to the project
    dataset_digest: str
    samples: int  # in the training set
    figures: Mapping[str, Mapping[str, float]]  # what the stages before measured: stage → name → value
    tags: Mapping[str, str]  # further tags of the run


class TrainingRun:
    """An open MLflow run. Steps are sent in batches, and all is sent beside the training, which waits before a checkpoint only.

    A server that goes away does not stop the training. Whatever is logged meanwhile stays in memory until the server is
    back. If a kill loses it, the next run of the stage logs it again from the losses that are kept with the checkpoints.
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.run_id = run_id
        self.is_finished = False
        self._client = client
        self._outbox = BesideTraining()
        self._keeps_all = False  # whether a file could not be removed, which is said once
        self._waiting: list[Metric] = []
        self._flushed = time.monotonic()
        self._last_step = self._read_last_step()

    def log_step(self, step: int, values: Mapping[str, float]) -> None:
        """Log the metrics of a step. A step that the run already has, repeated by a resumed training, is skipped."""
        if step <= self._last_step:
            return
        self._last_step = step
        self._put(step, values)

    def log_steps(self, steps: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        """Log the steps so far that the run lacks, because a kill lost them or because the run is new."""
        for step, values in steps:
            self.log_step(step, values)

    def log_validation(self, step: int, values: Mapping[str, float]) -> None:
        """Log losses on held-out pairs, as ``validation/NAME``, with the last step before they were measured.

        It must have been logged before: a resumed run takes the last step that it has anything of for logged.
        """
        self._put(step, {f"validation/{name}": value for name, value in values.items()})

    def log_image(self, name: str, image: Image.Image, step: int) -> None:
        """Log a picture of a step; MLflow shows the pictures of all steps side by side."""
        self._outbox.put(partial(self._client.log_image, self.run_id, image, key=name, step=step, synchronous=True))

    def log_artifact(self, path: Path, folder: str) -> None:
        """Send the steps so far, then log a file, for example a checkpoint, to ``folder``."""
        self.flush()
        self._outbox.put(partial(self._send_artifact, path, folder))

    def keep_artifacts(self, names: Collection[str], folder: str) -> None:
        """Remove all files of ``folder`` from the run but those with these names, for example those of older checkpoints.

        A store that does not remove files keeps them, which is said once: no training ends for that.
        """
        self._outbox.put(partial(self._remove_others, names, folder))

    def has_artifact(self, path: Path, folder: str) -> bool:
        """Return whether ``folder`` of the run has the whole file, once all before is sent; False while the server is away."""
        name, size = f"{folder}/{path.name}", path.stat().st_size
        found: list[FileInfo] = []
        self._outbox.put(lambda: found.extend(self._client.list_artifacts(self.run_id, folder)))
        self._outbox.settle()
        return any((item.path, item.file_size) == (name, size) for item in found)

    def finish(self, model_digest: str) -> None:
        """Mark the training as done and record the digest of its model; the next start begins a new run.

        Raises:
            InputError: the tracking server is away and does not come back.
        """
        self._outbox.put(partial(self._client.set_tag, self.run_id, MODEL_DIGEST, model_digest))
        self.end("FINISHED")
        self._outbox.empty()
        self.is_finished = True

    def end(self, status: str) -> None:
        """Send the waiting steps and the run's final status, or leave them with the outbox while the server is away."""
        self.flush()
        self._outbox.put(partial(self._client.set_terminated, self.run_id, status))
        self._outbox.settle()

    def settle(self) -> None:
        """Wait until all that was logged is sent, or is kept for a server that is away."""
        self.flush()
        self._outbox.settle()

    def flush(self) -> None:
        """Send the waiting steps, or leave them with the outbox while the server is away."""
        if self._waiting:
            self._outbox.put(partial(self._client.log_batch, self.run_id, metrics=self._waiting, synchronous=True))
        self._waiting = []
        self._flushed = time.monotonic()

    def _put(self, step: int, values: Mapping[str, float]) -> None:
        if len(self._waiting) + len(values) > MAX_METRICS:
            self.flush()  # a request has all metrics of a step or none, so that a kill never leaves half a step
        now = int(time.time() * 1000)
        # A store keeps an infinite norm, that of a step in fp16 which is left out, as the largest number there is.
        finite = {key: value for key, value in values.items() if math.isfinite(value)}
        self._waiting += [Metric(key, float(value), now, step) for key, value in finite.items()]
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def _send_artifact(self, path: Path, folder: str) -> None:
        try:
            self._client.log_artifact(self.run_id, str(path), folder)
        except FileNotFoundError:
            if path.exists():
                raise
            # A later checkpoint has replaced it meanwhile, and is sent in its place.

    def _remove_others(self, names: Collection[str], folder: str) -> None:
        others = [item.path for item in self._client.list_artifacts(self.run_id, folder) if Path(item.path).name not in names]
        repository = get_artifact_repository(str(self._client.get_run(self.run_id).info.artifact_uri))
        try:
            for path in others:
                repository.delete_artifacts(path)
        except Exception as error:  # noqa: BLE001 - each kind of store has its own errors, and some remove nothing
            if not self._keeps_all:
                reason = without_credentials(f"{type(error).__name__}: {first_line(error)}")
                tqdm.write(f"files in {folder} that are no longer needed stay with the run: {reason}", file=sys.stderr)
            self._keeps_all = True

    def _read_last_step(self) -> int:
        keys = self._client.get_run(self.run_id).data.metrics
        histories = (self._client.get_metric_history(self.run_id, key) for key in keys)
        return max((metric.step for history in histories for metric in history), default=-1)


@contextmanager
def start_training(inputs: TrainingInputs, state_file: Path) -> Iterator[TrainingRun]:
    """Open the run of a training, resuming one that a kill, an error or Ctrl-C left unfinished.

    When the block ends, with or without an error, the waiting steps are sent. The run ends as FINISHED after
    :meth:`TrainingRun.finish`, as KILLED when interrupted, and as FAILED otherwise.

    Args:
        inputs: the inputs of the training.
        state_file: a file beside the checkpoints that names the unfinished run; removed when the run is finished.

    Raises:
        InputError: the tracking server cannot be reached. One that goes away later is waited for at the end.
    """
    client = connect()
    with store_errors_in_one_line():
        run = TrainingRun(client, _open_run(client, inputs, state_file))
        try:
            yield run
        except BaseException as error:
            with suppress(OSError, *STORE_ERRORS):  # the store may be what failed; the first error is the one to report
                run.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise
        if not run.is_finished:
            run.end("FAILED")
    if run.is_finished:
        state_file.unlink()


def end_open_runs(state_files: Iterable[Path]) -> None:
    """End the runs of trainings that a kill left open; one that is resumed after all is open again.

    Args:
        state_files: those of trainings that are not at work. A damaged one names no run: ``iedit prune`` ends that.

    Raises:
        InputError: the tracking server cannot be reached.
    """
    client = connect()
    with store_errors_in_one_line():
        for state_file in state_files:
            _end_open_run(client, state_file)


def _open_run(client: MlflowClient, inputs: TrainingInputs, state_file: Path) -> str:
    """Return the unfinished run of this training, or a new one.

    The name that a run is found by is written to the state file before the run is made, so that a kill leaves no run
    behind that nothing finds.
    """
    key = _training_key(inputs)
    name = _read_name(state_file, key)
    if name is None:
        _end_open_run(client, state_file)
        name = uuid4().hex
        write_json(state_file, {"training": key, "name": name})
    elif (run_id := _unfinished_run(client, name)) is not None:
        client.update_run(run_id, status="RUNNING")
        return run_id
    return _create_run(client, inputs, name)


def _training_key(inputs: TrainingInputs) -> str:
    """Return a digest of everything that makes this training different from another one."""
    params = inputs.params
    sections = {name: getattr(params, name).model_dump(mode="json") for name in {"train", inputs.stage}}
    return value_digest({"seed": params.seed, **sections, "dataset": inputs.dataset_digest, "experiment": dvc_experiment()})


def _read_name(state_file: Path, key: str) -> str | None:
    """Return the name of the unfinished run, or None if there is none or it belongs to another training."""
    state = _read_state(state_file)
    if state is None and state_file.exists():
        print(f"{state_file}: damaged; the training is logged as a new run", file=sys.stderr)
    return state[1] if state is not None and state[0] == key else None


def _read_state(state_file: Path) -> tuple[str, str] | None:
    """Return the key of a training and the name of its run; None if there is no file, or a damaged one."""
    try:
        state = read_json(state_file)
        return str(state["training"]), str(state["name"])
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return None


def _end_open_run(client: MlflowClient, state_file: Path) -> None:
    state = _read_state(state_file)
    run_id = None if state is None else _unfinished_run(client, state[1])
    if run_id is not None and client.get_run(run_id).info.status == "RUNNING":
        client.set_terminated(run_id, "KILLED")


def _unfinished_run(client: MlflowClient, name: str) -> str | None:
    for run in client.search_runs([experiment_id(client)], f"tags.`{TRAINING}` = '{name}'"):
        if run.inputs is not None and run.inputs.dataset_inputs:  # they are logged last
            return str(run.info.run_id)
        client.delete_run(run.info.run_id)  # a kill interrupted its making
    return None


def _create_run(client: MlflowClient, inputs: TrainingInputs, name: str) -> str:
    tags = {
        "iedit.pipeline_digest": pipeline_digest(inputs.stage),
        "iedit.dataset_digest": inputs.dataset_digest,
        "iedit.samples": str(inputs.samples),
        TRAINING: name,
        **inputs.tags,
    }
    run_id = create_run(client, inputs.stage, inputs.params, tags)
    measured = flatten(
        {stage: {name.replace(" ", "_"): figure for name, figure in each.items()} for stage, each in inputs.figures.items()}
    )
    client.log_batch(run_id, params=[Param(name, text) for name, text in measured.items()], synchronous=True)
    training_set = Dataset(
        name=inputs.dataset.name,
        digest=inputs.dataset_digest[:MAX_DATASET_DIGEST],
        source_type="local",
        source=json.dumps({"uri": inputs.dataset.as_posix()}),
        profile=json.dumps({"num_samples": inputs.samples}),
    )
    client.log_inputs(run_id, [DatasetInput(training_set, [InputTag("mlflow.data.context", "training")])])
    return run_id
