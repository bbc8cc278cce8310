"""Who makes the shards: this process, several processes of this machine, or actors of a Ray cluster; the same bytes from all.

An executor is a function of a worker, the jobs, how many workers there may be, and the record that it reports to.
"""

from collections.abc import Iterator
from itertools import chain, islice

from stages.core.executors import processes, serial
from stages.core.executors.machine import Machine, this_machine
from stages.core.executors.record import Record
from stages.core.making import Job
from stages.core.params import Execution
from stages.core.tasks import InProcess, Worker, modules_of

PROCESS_BYTES = 2**30  # memory that a process may take
MODEL_PROCESS_BYTES = 3 * 2**30  # the same, with torch and a model


def execute(worker: Worker, jobs: Iterator[Job], execution: Execution, record: Record) -> None:
    """Make every job with the engine that ``execution`` names; ``auto`` takes processes where two are of use.

    Raises:
        InputError: the input of a shard cannot be used, or its worker died three times.
        NoRoomError: the disk or a quota is full.
        WorkerError: a worker in another process met any other error.
    """
    if isinstance(worker, InProcess) or execution.engine == "serial":
        serial.run(worker, jobs, record)
        return
    if execution.engine == "ray":
        from stages.core.executors import ray_actors

        ray_actors.run(worker, jobs, execution, record)
        return
    machine = this_machine()
    workers = execution.workers or count_workers(worker, execution, machine)
    if execution.engine == "auto":
        two = list(islice(jobs, 2))
        jobs = chain(two, jobs)
        if workers == 1 or len(two) < 2:
            serial.run(worker, jobs, record)
            return
    processes.run(worker, jobs, workers, machine.gpus if modules_of(worker) else (), record)


def count_workers(worker: Worker, execution: Execution, machine: Machine) -> int:
    """Return how many processes of this machine are of use: one a core as memory allows.

    For models it is so many a GPU, also at most one a core, but at least one a GPU.
    """
    if modules_of(worker) and machine.gpus:
        most = max(machine.cores, len(machine.gpus))
        return min(len(machine.gpus) * int(1 / execution.gpus_per_worker), most)
    needed = MODEL_PROCESS_BYTES if modules_of(worker) else PROCESS_BYTES
    return max(1, min(machine.cores, machine.memory // needed))
