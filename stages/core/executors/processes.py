"""Processes of this machine, each with its own copy of the worker.

They are forked from a server that has imported the worker's modules once, so a further process costs little more than its
model. A process that dies costs no other process its shard, which is why this is not concurrent.futures' pool.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from typing import NoReturn

from stages.core.errors import InputError
from stages.core.executors.machine import VISIBLE
from stages.core.executors.record import Record
from stages.core.making import THREADS, Failure, Job, Made, describe_failure, load_work, try_shard
from stages.core.tasks import Worker, modules_of

ATTEMPTS = 3  # at a shard whose worker dies
INTERVAL = 0.5  # seconds between two messages of a worker about its progress

Message = int | Made | Failure  # samples just finished, or what became of the job


def run(worker: Worker, jobs: Iterator[Job], workers: int, gpus: Sequence[str], record: Record) -> None:
    """Make every job with up to ``workers`` processes, no more than there are jobs.

    Args:
        worker: sent to each process.
        jobs: taken one by one as processes become free.
        workers: the most processes.
        gpus: each process gets one of them, in turn; empty without GPUs, or without models.
        record: receives progress and results.

    Raises:
        InputError: the input of a shard cannot be used, or its worker died three times.
        NoRoomError: the disk or a quota is full.
        WorkerError: a worker met any other error.
    """
    pool = _Pool(worker, workers, gpus, record)
    try:
        pool.run(jobs)
    finally:
        pool.stop()


@dataclass(eq=False)
class _Process:
    """A worker process, and the job that it works on."""

    process: BaseProcess
    connection: Connection
    gpu: str | None
    job: Job | None = None


@dataclass
class _Pool:
    """The processes, and the jobs that go back to the queue because their worker died."""

    worker: Worker
    size: int
    gpus: Sequence[str]
    record: Record
    processes: list[_Process] = field(default_factory=list)
    again: deque[Job] = field(default_factory=deque)
    deaths: Counter[str] = field(default_factory=Counter)  # of workers, by the shard that they were making

    def run(self, jobs: Iterator[Job]) -> None:
        """Hand out the jobs until all are done."""
        self._assign(jobs)
        while busy := [each for each in self.processes if each.job is not None]:
            ready = wait([each.connection for each in busy])
            for each in busy:
                if each.connection in ready:
                    self._listen(each)
            self._assign(jobs)

    def stop(self) -> None:
        """End every process, and remove what those that still worked have left."""
        for each in self.processes:
            each.process.kill()
        for each in self.processes:
            each.process.join()
            each.connection.close()
            if each.job is not None:
                each.job.discard()

    def _assign(self, jobs: Iterator[Job]) -> None:
        """Give each idle process a job, and start further processes while there are jobs and places."""
        while True:
            idle = next((each for each in self.processes if each.job is None), None)
            if idle is None and len(self.processes) == self.size:
                return
            job = self.again.popleft() if self.again else next(jobs, None)
            if job is None:
                return
            idle = idle or self._start()
            idle.job = job
            try:
                idle.connection.send(job)
            except OSError:
                self._bury(idle)

    def _start(self) -> _Process:
        used = Counter(each.gpu for each in self.processes)
        gpu = min(self.gpus, key=lambda name: used[name]) if self.gpus else None
        environment = {**os.environ, THREADS: "1"} | ({VISIBLE: gpu} if gpu is not None else {})
        context = _context(self.worker)
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self.worker, environment), daemon=True)
        with _interrupts_deferred():
            process.start()
        theirs.close()
        self.processes.append(_Process(process, ours, gpu))
        return self.processes[-1]

    def _listen(self, sender: _Process) -> None:
        assert sender.job is not None
        try:
            message: Message = sender.connection.recv()
        except (EOFError, OSError):
            self._bury(sender)
            return
        match message:
            case int():
                self.record.advance(sender.job, message)
            case Made():
                self.record.made(sender.job, message)
                sender.job = None
            case Failure():
                message.throw()

    def _bury(self, dead: _Process) -> None:
        """Put the job of a process that died back into the queue, at most twice."""
        assert dead.job is not None
        job = dead.job
        dead.process.join()
        dead.connection.close()
        self.processes.remove(dead)
        self.deaths[job.task.name] += 1
        self.record.lost(job)
        if self.deaths[job.task.name] == ATTEMPTS:
            job.discard()
            raise_lost(job, _cause(dead.process.exitcode))
        self.again.append(job)


@contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Block Ctrl-C in the block, and for good in the processes that it starts: the driver ends those."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


def raise_lost(job: Job, cause: str) -> NoReturn:
    """Raise the error of a shard whose worker died too often."""
    raise InputError(f"{job.outputs[0]}: {ATTEMPTS} workers died while making it, the last one {cause}")


def _cause(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return "killed by SIGKILL, perhaps for lack of memory: try a smaller batch, or fewer execution.workers"
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"with exit code {code}"


def _context(worker: Worker) -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([type(worker).__module__, *modules_of(worker)])
    return context


def _serve(connection: Connection, worker: Worker, environment: dict[str, str]) -> None:
    """Make jobs until the driver ends; the target of each process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the driver ends this one
    threading.Thread(target=_end_with_driver, daemon=True).start()
    os.environ.clear()  # the server that this process was forked from may have another one
    os.environ.update(environment)
    work = None
    while True:
        job: Job = connection.recv()
        progress = _Progress(connection)
        try:
            work = work or load_work(worker)
        except Exception as error:  # noqa: BLE001 - the driver raises it again
            connection.send(describe_failure(error, job))
            return
        connection.send(try_shard(work, job, progress.advance))


def _end_with_driver() -> None:
    """End this process as soon as the driver is gone, even in the middle of a shard, as a kill would."""
    driver = multiprocessing.parent_process()
    assert driver is not None
    driver.join()
    os._exit(1)


@dataclass
class _Progress:
    """Sends the number of finished samples, not too often."""

    connection: Connection
    waiting: int = 0
    sent: float = field(default_factory=time.monotonic)

    def advance(self, samples: int) -> None:
        self.waiting += samples
        if time.monotonic() - self.sent >= INTERVAL:
            self.connection.send(self.waiting)
            self.waiting, self.sent = 0, time.monotonic()
