"""Making one shard, wherever the worker runs: outputs aside, renamed, and the sidecar last."""

import os
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NoReturn

from stages.core.earlier import NO_SHARDS, Earlier
from stages.core.errors import InputError
from stages.core.files import NoRoomError, aside_of, file_digest, lack_of_room, remove, write_json, written_aside
from stages.core.sidecars import Sidecar
from stages.core.tasks import Advance, ShardFiles, ShardTask, Work, Worker

THREADS = "OMP_NUM_THREADS"


@dataclass(frozen=True, kw_only=True)
class Job:
    """A task that has to be done, and where its files go."""

    task: ShardTask
    outputs: tuple[Path, ...]
    sidecar: Path
    fingerprint: str
    settings: str  # digest of the settings that all shards of the stage share
    earlier: Earlier = NO_SHARDS  # that the worker may take contents from
    attempt: int = 0  # counts those whose worker was lost

    def discard(self) -> None:
        """Remove what attempts that were cut off have left, or still write."""
        for path in (*self.outputs, self.sidecar):
            for attempt in range(self.attempt + 1):
                remove(aside_of(path, attempt))

    def again(self) -> "Job":
        """Return the job for another attempt, which writes beside the one before: that worker may live on unseen."""
        return replace(self, attempt=self.attempt + 1)


@dataclass(frozen=True, kw_only=True)
class Made:
    """What became of a job; the notes stay in the sidecar."""

    digests: tuple[str, ...]  # of the outputs
    done: int
    reused: int
    dropped: Counter[str]


class WorkerError(RuntimeError):
    """A worker in another process met an error that is a defect; the message is its traceback."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An error as it travels from a worker: in words, because not every exception survives pickling."""

    kind: Literal["input", "room", "defect"]
    message: str

    def throw(self) -> NoReturn:
        """Raise the error in the driver.

        Raises:
            InputError: as the worker raised it.
            NoRoomError: the worker's disk or quota is full.
            WorkerError: for any other error.
        """
        kinds: dict[str, type[Exception]] = {"input": InputError, "room": NoRoomError, "defect": WorkerError}
        raise kinds[self.kind](self.message)


def load_work(worker: Worker) -> Work:
    """Load a worker, which is to use one processor thread and deterministic algorithms if it uses torch.

    Several processes of one thread are faster than one of several; and so bytes do not depend on the engine.
    """
    os.environ[THREADS] = "1"  # before torch is imported
    work = worker.load()
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True, warn_only=True)
    return work


@contextmanager
def threads_restored() -> Iterator[None]:
    """Restore the number of threads of this process after the block."""
    torch, variable = sys.modules.get("torch"), os.environ.get(THREADS)
    threads = torch.get_num_threads() if torch is not None else None
    try:
        yield
    finally:
        os.environ.pop(THREADS, None)
        if variable is not None:
            os.environ[THREADS] = variable
        if torch is not None:
            torch.set_num_threads(threads)


def make_shard(work: Work, job: Job, advance: Advance) -> Made:
    """Make the outputs of a job and its sidecar; outputs that are there stay whole until the new ones are."""
    with ExitStack() as stack:
        outputs = tuple(stack.enter_context(written_aside(path, job.attempt)) for path in job.outputs)
        result = work(job.task, ShardFiles(outputs=outputs, earlier=job.earlier), advance)
        digests = tuple(file_digest(path) for path in outputs)
        job.sidecar.unlink(missing_ok=True)
    record = Sidecar(
        fingerprint=job.fingerprint,
        settings=job.settings,
        digests=list(digests),
        done=result.done,
        dropped=dict(result.dropped),
        notes=result.notes,
    )
    write_json(job.sidecar, record.model_dump(), job.attempt)
    return Made(digests=digests, done=result.done, reused=result.reused, dropped=result.dropped)


def try_shard(work: Work, job: Job, advance: Advance) -> Made | Failure:
    """Make a shard in a worker process, and return its error as words."""
    try:
        return make_shard(work, job, advance)
    except Exception as error:  # noqa: BLE001 - the driver raises it again
        return describe_failure(error, job)


def describe_failure(error: Exception, job: Job) -> Failure:
    """Return an error of a worker in words."""
    if isinstance(error, InputError):
        return Failure(kind="input", message=str(error))
    if lack_of_room(error):
        return Failure(kind="room", message=str(error))
    return Failure(kind="defect", message=f"shard {job.task.name}:\n{''.join(traceback.format_exception(error))}")
