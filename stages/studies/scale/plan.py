"""What a corpus of any size costs: time, machine hours, disk and memory of each stage, from measured rates."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

HOUR = 3600.0
UTILISATION = 0.3  # share of a GPU's peak that the frozen networks reach; an assumption

GPUS = {"none": 0.0, "t4": 65e12, "v100": 125e12, "a10": 125e12, "a100": 312e12, "h100": 989e12}
"""GPU → its peak operations a second, dense, in half precision, by NVIDIA's data sheets."""


@dataclass(frozen=True, kw_only=True)
class StageRate:
    """What a stage costs for one of its items."""

    stage: str
    items: float  # per image of the corpus
    most_items: float | None = None  # that it ever works on; None: no bound
    cpu_seconds: float  # of one core, per item, besides the networks
    serial_seconds: float = 0.0  # of one core, per item, that no other core shares
    network_seconds: float = 0.0  # of one core without a GPU, per item
    operations: float = 0.0  # of the networks, per item
    bytes: float  # on disk, per item
    memory: float  # of one worker process, in bytes
    shared_memory: float = 0.0  # of each machine, in bytes per item
    exponent: float = 1.0  # of the CPU time against items
    measured_at: float = 1.0  # items at which cpu_seconds was measured


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The machines to plan for."""

    machines: int
    cores: int  # of each machine
    gpus: int  # of each machine; 0 without
    gpu: str  # a key of GPUS
    workers_per_gpu: int = 1  # that share it

    @property
    def model_workers(self) -> int:
        """The workers with a model on each machine: as stages.core.executors counts them."""
        return min(self.gpus * self.workers_per_gpu, max(self.cores, self.gpus))


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """The cost of a stage for a whole corpus."""

    stage: str
    items: float
    hours: float
    machine_hours: float
    disk: float  # bytes
    memory: float  # bytes on each machine


def plan(rates: Iterable[StageRate], images: float, cluster: Cluster) -> list[StagePlan]:
    """Return the cost of every stage, in their order.

    Decoding and writing run beside the networks, so a stage takes the longer of its CPU time over all workers and its GPU time
    over all GPUs. A worker reads in one thread, and there is one a core; with networks, so many a GPU. Without a GPU the
    networks' time is CPU time too. Starts, a few seconds a stage, are left out.

    Args:
        rates: the stages.
        images: in the corpus.
        cluster: the machines.
    """
    return [_plan_stage(rate, images, cluster) for rate in rates]


def _plan_stage(rate: StageRate, images: float, cluster: Cluster) -> StagePlan:
    items = images * rate.items
    if rate.most_items is not None:
        items = min(items, rate.most_items)
    growth = (items / rate.measured_at) ** (rate.exponent - 1)
    cpu = items * rate.cpu_seconds * growth
    workers = cluster.cores
    if cluster.gpus and rate.operations:
        gpu = items * rate.operations / (GPUS[cluster.gpu] * UTILISATION) / (cluster.machines * cluster.gpus)
        workers = cluster.model_workers
    else:
        gpu = 0.0
        cpu += items * rate.network_seconds
    hours = (max(cpu / (cluster.machines * workers), gpu) + items * rate.serial_seconds) / HOUR
    return StagePlan(
        stage=rate.stage,
        items=items,
        hours=hours,
        machine_hours=hours * cluster.machines,
        disk=items * rate.bytes,
        memory=workers * rate.memory + items * rate.shared_memory,
    )


def table(plans: Sequence[StagePlan]) -> str:
    """Return the plan as a table of fixed width, with its sums."""
    head = ["stage", "items", "time", "machine hours", "disk", "memory a machine"]
    rows = [
        [
            each.stage,
            f"{each.items:,.0f}",
            duration(each.hours),
            f"{each.machine_hours:,.1f}",
            size(each.disk),
            size(each.memory),
        ]
        for each in plans
    ]
    hours, machine_hours = sum(each.hours for each in plans), sum(each.machine_hours for each in plans)
    disk, memory = sum(each.disk for each in plans), max(each.memory for each in plans)
    rows.append(["all", "", duration(hours), f"{machine_hours:,.1f}", size(disk), size(memory)])
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))])
        for row in [head, *rows]
    ]
    return "\n".join(line.rstrip() for line in lines)


def duration(hours: float) -> str:
    """Return hours as people read them: "40 s", "12 min", "3.5 h", "12 days"."""
    if hours * HOUR < 99.5:
        return f"{hours * HOUR:.0f} s"
    if hours * 60 < 99.5:
        return f"{hours * 60:.0f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:,.1f} days"


def size(amount: float) -> str:
    """Return bytes with a decimal unit: "12 MB"."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if amount < 999.5:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:,.3g} PB"
