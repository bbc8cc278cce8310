"""One shard after another in this process."""

from collections.abc import Iterator
from functools import partial

from stages.core.executors.record import Record
from stages.core.interrupt import exiting_at_once
from stages.core.making import Job, load_work, make_shard, threads_restored
from stages.core.tasks import InProcess, Worker


def run(worker: Worker, jobs: Iterator[Job], record: Record) -> None:
    """Make every job; the worker is loaded here, with one processor thread while it works."""
    work = None
    with threads_restored():
        for job in jobs:
            if work is None:
                with exiting_at_once():
                    work = worker.load() if isinstance(worker, InProcess) else load_work(worker)
            record.made(job, make_shard(work, job, partial(record.advance, job)))
