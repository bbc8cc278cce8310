"""Actors of a Ray cluster, each with its own copy of the worker; the project's folder is one that all machines see.

The cluster is that of ``execution.address`` or of RAY_ADDRESS; without either, the stage starts one on this machine and
stops it. Machines have the project installed, as the container image has, so nothing is shipped but the worker.
"""

import logging
import os
import secrets
import shutil
import socket
import tempfile
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from stages.core.errors import InputError, first_line
from stages.core.executors.machine import this_machine
from stages.core.executors.processes import ATTEMPTS, raise_lost
from stages.core.executors.record import Record
from stages.core.making import THREADS, Failure, Job, Made, describe_failure, load_work, try_shard
from stages.core.params import Execution
from stages.core.tasks import Work, Worker, modules_of

INTERVAL = 1.0  # seconds between two readings of the actors' progress
ADDRESS = "RAY_ADDRESS"
ONE_THREAD = {THREADS: "1"}
TOKEN = {"RAY_AUTH_TOKEN": secrets.token_hex(32)}  # of clusters of this process alone; Ray would leave one in the home folder
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}  # actors have the priority that processes have


def run(worker: Worker, jobs: Iterator[Job], execution: Execution, record: Record) -> None:
    """Make every job with actors: ``execution.workers`` of them or, if that is null, as many as the cluster has room for.

    Args:
        worker: sent to each actor.
        jobs: taken one by one as actors become free.
        execution: the cluster's address, the number of workers, and the share of a GPU for each.
        record: receives progress and results.

    Raises:
        InputError: the cluster cannot be reached, the input of a shard cannot be used, or its worker died three times.
        NoRoomError: a disk or a quota is full.
        WorkerError: a worker met any other error.
    """
    first = next(jobs, None)
    if first is None:  # not worth a cluster
        return
    with _cluster(execution) as ray:
        share = execution.gpus_per_worker if modules_of(worker) and ray.cluster_resources().get("GPU") else 0
        pool = _Pool(ray, worker, share, execution.workers, record)
        try:
            pool.run(chain([first], jobs))
        finally:
            pool.stop()


@contextmanager
def _cluster(execution: Execution) -> Iterator[Any]:
    """Connect to the cluster, or start one; yield the module ``ray``."""
    os.environ.update(SETTINGS)
    import ray

    name, address = "execution.address", execution.address
    if address is None:
        name, address = ADDRESS, os.environ.get(ADDRESS)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
    folder = None
    try:
        if address:
            _check_answer(name, address)
            try:
                ray.init(address=address, **options)
            except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
                reason = f"the Ray cluster there does not take this machine in ({first_line(' '.join(str(error).split()))})"
                hint = "versions, RAY_AUTH_MODE and the token must be the same everywhere, as docs/cluster.md says"
                raise InputError(f"{name} = {address!r}: {reason}; {hint}") from error
        else:
            os.environ.update(TOKEN)
            folder = tempfile.mkdtemp(prefix="iedit-ray-", dir="/tmp")
            cores = max(execution.workers or 1, this_machine().cores)
            ray.init(address="local", num_cpus=cores, include_dashboard=False, _temp_dir=folder, **options)
        yield ray
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)  # Ray's last processes may still write to it


def _check_answer(name: str, address: str) -> None:
    """Raise InputError, by the name of the setting, if nobody listens at HOST:PORT, for which Ray would wait many minutes."""
    host, _, port = address.rpartition(":")
    wanted = "must be HOST:PORT, as `ray start` prints it"
    if not host or not port.isdecimal() or int(port) > 65535:
        raise InputError(f"{name} = {address!r}: {wanted}")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        reason = f"no Ray cluster answers there ({first_line(error)}); {wanted}"
        raise InputError(f"{name} = {address!r}: {reason}") from error


class _Maker:
    """The actor: a worker in a process of the cluster. Its progress is read while it works, by a second thread."""

    def __init__(self, worker: Worker, folder: Path) -> None:
        self._worker, self._folder = worker, folder
        self._work: Work | None = None
        self._finished = 0

    def make(self, job: Job) -> Made | Failure:
        """Make one shard."""
        self._finished = 0
        try:
            if self._work is None:
                self._enter_folder()
                self._work = load_work(self._worker)
        except Exception as error:  # noqa: BLE001 - the driver raises it again
            return describe_failure(error, job)
        return try_shard(self._work, job, self._advance)

    def ready(self) -> None:
        """Do nothing: an answer means that the cluster has found room for this actor."""

    def finished(self) -> int:
        """Return how many samples of the shard in work are finished."""
        return self._finished

    def _enter_folder(self) -> None:
        try:
            os.chdir(self._folder)
        except OSError as error:
            reason = f"{self._folder}: not on machine {os.uname().nodename}; all machines of a Ray cluster share this folder"
            raise InputError(reason) from error

    def _advance(self, samples: int) -> None:
        self._finished += samples


@dataclass(eq=False)
class _Actor:
    """An actor and the job that it works on."""

    handle: Any
    job: Job
    result: Any  # a reference to what becomes of the job
    progress: Any = None  # a reference to the number of samples finished
    shown: int = 0  # samples of the job that the record knows of


@dataclass
class _Pool:
    """The actors, those that wait for room in the cluster included, and the jobs that wait for an actor.

    A job is given to an actor that runs already: one that waits for room may wait until another machine joins.
    """

    ray: Any
    worker: Worker
    share: float  # of a GPU for each actor
    limit: int | None  # the most actors
    record: Record
    busy: list[_Actor] = field(default_factory=list)
    idle: list[Any] = field(default_factory=list)
    starting: dict[Any, Any] = field(default_factory=dict)  # reference to its readiness → actor
    waiting: deque[Job] = field(default_factory=deque)
    deaths: Counter[str] = field(default_factory=Counter)  # of actors, by the shard that they were making
    failed_starts: int = 0  # in a row

    def run(self, jobs: Iterator[Job]) -> None:
        """Hand out the jobs until all are done."""
        while self._assign(jobs):
            results = [actor.result for actor in self.busy]
            ready, _ = self.ray.wait([*results, *self.starting], timeout=INTERVAL)
            for actor in [actor for actor in self.busy if actor.result in ready]:
                self.busy.remove(actor)
                self._finish(actor)
            for reference in [reference for reference in self.starting if reference in ready]:
                self._welcome(reference)
            self._show_progress()

    def stop(self) -> None:
        """End the actors, and remove what those that still worked have left."""
        for handle in [*self.idle, *self.starting.values(), *(actor.handle for actor in self.busy)]:
            self.ray.kill(handle)
        for actor in self.busy:
            self.ray.wait([actor.result], timeout=10)  # until it has died
            actor.job.discard()

    def _assign(self, jobs: Iterator[Job]) -> bool:
        """Give jobs to idle actors, and start as many more as there are jobs and room; return whether anything is left."""
        room = self._room()
        self.waiting.extend(islice(jobs, max(0, room - len(self.busy) - len(self.waiting))))
        while self.waiting and self.idle:
            handle, job = self.idle.pop(), self.waiting.popleft()
            self.busy.append(_Actor(handle, job, handle.make.remote(job)))
        wanted = min(len(self.waiting), room - len(self.busy))
        for _ in range(wanted - len(self.starting)):
            handle = self._start()
            self.starting[handle.ready.remote()] = handle
        return bool(self.busy or self.waiting)

    def _room(self) -> int:
        """Return how many actors the cluster has room for now; it may grow, and lose machines."""
        if self.limit is not None:
            return self.limit
        resources = self.ray.cluster_resources()
        if self.share:
            return max(1, int(resources.get("GPU", 0)) * int(1 / self.share))
        return max(1, int(resources.get("CPU", 0)))

    def _start(self) -> Any:
        options = {"num_cpus": 1, "num_gpus": self.share, "max_concurrency": 2, "runtime_env": {"env_vars": ONE_THREAD}}
        return self.ray.remote(**options)(_Maker).remote(self.worker, Path.cwd())

    def _welcome(self, reference: Any) -> None:
        """Take in an actor that has started, or give up after several that could not."""
        handle = self.starting.pop(reference)
        try:
            self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            self.failed_starts += 1
            if self.failed_starts == ATTEMPTS:
                raise InputError(f"execution.engine = 'ray': no actor can start: {first_line(error)}") from error
            return
        self.failed_starts = 0
        self.idle.append(handle)

    def _finish(self, actor: _Actor) -> None:
        """Record what became of a job, or put it back into the queue if its actor died, at most twice."""
        try:
            outcome: Made | Failure = self.ray.get(actor.result)
        except self.ray.exceptions.RayError as error:
            self.ray.kill(actor.handle)  # it may live on where it cannot be reached
            self.record.lost(actor.job)
            self.deaths[actor.job.task.name] += 1
            if self.deaths[actor.job.task.name] == ATTEMPTS:
                actor.job.discard()
                raise_lost(actor.job, f"with {type(error).__name__}: {first_line(error)}")
            self.waiting.append(actor.job.again())
            return
        if isinstance(outcome, Failure):
            outcome.throw()
        if actor.job.attempt:
            actor.job.discard()
        self.record.made(actor.job, outcome)
        self.idle.append(actor.handle)

    def _show_progress(self) -> None:
        """Show how far each actor is, as it answered the last question."""
        for actor in self.busy:
            if actor.progress is None:
                actor.progress = actor.handle.finished.remote()
            elif self.ray.wait([actor.progress], timeout=0)[0]:
                try:
                    finished = self.ray.get(actor.progress)
                except self.ray.exceptions.RayError:
                    continue  # it died; its result says so
                self.record.advance(actor.job, max(0, finished - actor.shown))
                actor.shown, actor.progress = max(finished, actor.shown), None
