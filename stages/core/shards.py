"""Work shard by shard: the one mechanism behind resuming, incremental runs, distribution, and repeatable bytes.

A stage is a plan (tasks), a worker, and a record. A task's outputs are written aside and renamed; the sidecar, written last,
holds the fingerprint of the inputs and settings and the digests of the outputs. A shard with a matching sidecar is not
remade, and one without a sidecar never counts as whole. What earlier shards hold of it is taken from them.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stages.core.counts import COUNTS_FILE, StageCounts, pass_on_counts, read_counts
from stages.core.digests import Digests
from stages.core.earlier import FOLDER, TABLE, Contents, drop, put_back, set_aside, write_table
from stages.core.errors import InputError
from stages.core.executors import execute
from stages.core.executors.record import Record
from stages.core.files import TEMPORARY_SUFFIX, remove, value_digest
from stages.core.making import Job
from stages.core.params import Execution
from stages.core.sidecars import SIDECAR_SUFFIX, Sidecar, find_sidecar, read_sidecar, sidecar_of
from stages.core.tasks import Advance, InProcess, ShardFiles, ShardResult, ShardTask, Work, Worker

__all__ = [
    "COUNTS_FILE",
    "SERIAL",
    "SIDECAR_SUFFIX",
    "Advance",
    "InProcess",
    "ShardFiles",
    "ShardResult",
    "ShardTask",
    "StageCounts",
    "Work",
    "Worker",
    "count_samples",
    "list_shards",
    "map_shards",
    "pass_on_counts",
    "read_counts",
    "shard_notes",
    "shard_totals",
]

SERIAL = Execution(engine="serial", workers=None, gpus_per_worker=1.0, address=None)
"""For shards that have to be made in this process."""


def map_shards(
    *,
    stage: str,
    tasks: Sequence[ShardTask],
    folder: Path,
    suffixes: tuple[str, ...],
    settings: Mapping[str, Any],
    worker: Worker,
    execution: Execution,
    contents: Contents | None = None,
) -> StageCounts:
    """Make ``folder/NAME + suffix`` for every task whose fingerprint changed, and remove shards that no task names.

    Args:
        stage: the name on the progress line and in the counts.
        tasks: the shards, in order.
        folder: the folder for outputs and sidecars.
        suffixes: the outputs' suffixes with their dots, such as (".tar", ".parquet").
        settings: everything besides the inputs that decides every output, as JSON: parameters, model identities, the
            digest of the code.
        worker: makes the shards; it is loaded only if there is one to make.
        execution: who makes them; it decides no byte.
        contents: finds what the outputs of a shard hold, for workers that take it from earlier shards; None: they do not.

    Raises:
        InputError: an input cannot be read or used, or a worker died repeatedly.
        NoRoomError: the disk or a quota is full.
        WorkerError: a worker in another process met any other error.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if contents is not None:
        put_back(folder, suffixes)
    counts, began = StageCounts(stage=stage), time.monotonic()
    with Digests() as digests:
        record = Record(counts, digests, sum(task.samples for task in tasks))
        plan = _Plan(folder=folder, suffixes=suffixes, settings=dict(settings), digests=digests, record=record)
        try:
            jobs = plan.jobs(tasks) if contents is None else plan.jobs_with_earlier(tasks, contents)
            _remove_strangers(folder, suffixes, (task.name for task in tasks))
            execute(worker, jobs, execution, record)
        finally:
            record.close()
    if contents is not None:
        drop(folder)
    counts.seconds = time.monotonic() - began
    return counts


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """Separates the shards to make from those that are whole."""

    folder: Path
    suffixes: tuple[str, ...]
    settings: dict[str, Any]
    digests: Digests
    record: Record

    def jobs(self, tasks: Iterable[ShardTask]) -> Iterator[Job]:
        """Yield a job for each task that has to be done, and record the others as reused."""
        shared = value_digest(self.settings)
        for task in tasks:
            inputs = [self._digest(path) for path in task.inputs]
            fingerprint = value_digest({"inputs": inputs, "settings": [self.settings, dict(task.settings)]})
            path, outputs = self.folder / f"{task.name}{SIDECAR_SUFFIX}", self._outputs(self.folder, task.name)
            sidecar = self._find_sidecar(path, outputs)
            if sidecar is not None and sidecar.fingerprint == fingerprint:
                self.record.reused(task, sidecar)
            else:
                yield Job(task=task, outputs=outputs, sidecar=path, fingerprint=fingerprint, settings=shared)

    def jobs_with_earlier(self, tasks: Sequence[ShardTask], contents: Contents) -> Iterator[Job]:
        """Return an iterator over the jobs, which know the earlier shards if there are any; those they replace lie aside."""
        places = (self.folder, self.folder / FOLDER)
        if not any(any(place.glob(f"*{SIDECAR_SUFFIX}")) for place in places):
            return self.jobs(tasks)
        jobs = list(self.jobs(tasks))  # all, because the first may use what the last replaces
        if not jobs:
            return iter(())
        staying = {task.name for task in tasks}.difference(job.task.name for job in jobs)
        earlier = write_table(self.folder / FOLDER / TABLE, self._gather(staying), contents)
        return (replace(job, earlier=earlier) for job in jobs)

    def _gather(self, staying: set[str]) -> list[tuple[Path, ...]]:
        """Return the outputs of all whole shards of these settings; all but those that stay are set aside before."""
        shards = []
        for path, outputs, sidecar in self._whole_shards(self.folder):
            if path.name.removesuffix(SIDECAR_SUFFIX) in staying:
                shards.append(outputs)
            else:
                for output, digest in zip(set_aside(path, outputs, sidecar.fingerprint), sidecar.digests, strict=True):
                    self.digests.learn(output, digest)
        return shards + [outputs for _, outputs, _ in self._whole_shards(self.folder / FOLDER)]

    def _whole_shards(self, folder: Path) -> Iterator[tuple[Path, tuple[Path, ...], Sidecar]]:
        """Yield the sidecar's path, the outputs and the sidecar of each whole shard of a folder that has these settings."""
        shared = value_digest(self.settings)
        for path in sorted(folder.glob(f"*{SIDECAR_SUFFIX}")):
            outputs = self._outputs(folder, path.name.removesuffix(SIDECAR_SUFFIX))
            sidecar = self._find_sidecar(path, outputs)
            if sidecar is not None and sidecar.settings == shared:
                yield path, outputs, sidecar

    def _outputs(self, folder: Path, name: str) -> tuple[Path, ...]:
        return tuple(folder / f"{name}{suffix}" for suffix in self.suffixes)

    def _find_sidecar(self, path: Path, outputs: Sequence[Path]) -> Sidecar | None:
        """Return the sidecar of a shard that is whole, or None."""
        sidecar = find_sidecar(path, outputs)
        is_whole = sidecar is not None and sidecar.digests == [self._digest(output) for output in outputs]
        return sidecar if is_whole else None

    def _digest(self, path: Path) -> str:
        try:
            return self.digests.of(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def list_shards(folder: Path, suffix: str) -> list[Path]:
    """Return the whole shards of ``folder``, sorted by name.

    Raises:
        InputError: the folder has no shard.
    """
    shards = [path for path in sorted(folder.glob(f"*{suffix}")) if sidecar_of(path, suffix).exists()]
    if not shards:
        raise InputError(f"{folder}: no {suffix} shards; run the stage that writes them")
    return shards


def count_samples(shard: Path, suffix: str) -> int:
    """Return how many samples a shard holds, from its sidecar.

    Raises:
        InputError: the sidecar is missing or damaged.
    """
    return read_sidecar(sidecar_of(shard, suffix)).done


def shard_notes(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the notes of all whole shards of ``folder``, shard by shard in the order of their names.

    Raises:
        InputError: a sidecar is damaged.
    """
    for path in sorted(folder.glob(f"*{SIDECAR_SUFFIX}")):
        yield from read_sidecar(path).notes


def shard_totals(folder: Path) -> tuple[int, Counter[str]]:
    """Return how many samples all whole shards of ``folder`` hold, and how many were dropped, by reason.

    Raises:
        InputError: a sidecar is damaged.
    """
    done, dropped = 0, Counter[str]()
    for path in folder.glob(f"*{SIDECAR_SUFFIX}"):
        sidecar = read_sidecar(path)
        done += sidecar.done
        dropped.update(sidecar.dropped)
    return done, dropped


def _remove_strangers(folder: Path, suffixes: tuple[str, ...], names: Iterable[str]) -> None:
    """Remove shards that no task names, and the leftovers of interrupted runs."""
    kept = {f"{name}{ending}" for name in names for ending in (*suffixes, SIDECAR_SUFFIX)}
    for path in folder.iterdir():
        if path.name not in kept and path.name.endswith((*suffixes, SIDECAR_SUFFIX, TEMPORARY_SUFFIX)):
            remove(path)
