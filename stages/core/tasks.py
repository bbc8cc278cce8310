"""A stage as a plan of tasks and a worker: what the stages and the executors agree on."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from stages.core.earlier import NO_SHARDS, Earlier


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """One shard to make. It is small and picklable: it names files, and holds no rows or samples."""

    name: str  # the output's name without suffix: "00000"
    inputs: tuple[Path, ...]  # files whose bytes decide the output
    samples: int  # input samples, for the progress line
    settings: Mapping[str, Any] = field(default_factory=dict)  # other values that decide this shard's output, as JSON
    source: Any = None  # where the worker reads the samples, if not from the inputs; inputs and settings decide what it reads


@dataclass(frozen=True, kw_only=True)
class ShardFiles:
    """The files of one shard as its worker sees them."""

    outputs: tuple[Path, ...]  # to write, one a suffix
    earlier: Earlier = NO_SHARDS  # the shards of earlier runs that were made with the same settings

    @property
    def output(self) -> Path:
        """The first, or only, file to write."""
        return self.outputs[0]


@dataclass(kw_only=True)
class ShardResult:
    """The outcome of making one shard."""

    done: int = 0  # samples in the outputs
    reused: int = 0  # of these, the samples that were taken from earlier shards
    dropped: Counter[str] = field(default_factory=Counter)  # reason → samples
    notes: list[dict[str, Any]] = field(default_factory=list)  # kept in the sidecar, for example the refused images


Advance = Callable[[int], object]
"""Takes the number of samples just finished."""

Work = Callable[[ShardTask, ShardFiles, Advance], ShardResult]
"""Makes a shard: writes every output of the task."""


class Worker(Protocol):
    """How a stage makes its shards: a frozen picklable dataclass of paths and parameters, without models or open files.

    A class attribute ``modules``, a tuple of names, may list the modules with models that :meth:`load` imports. They are then
    imported once for all processes of a machine, and each worker gets a GPU, or a share of one, where there is one.
    """

    def load(self) -> Work:
        """Return the function that makes shards; called once in each process, so models are loaded here."""
        ...


@dataclass(frozen=True)
class InProcess:
    """A worker of work that is loaded already: it stays in this process and keeps its threads, whatever the engine."""

    work: Work

    def load(self) -> Work:
        """Return the work."""
        return self.work


def modules_of(worker: Worker) -> tuple[str, ...]:
    """Return the modules with models that a worker imports."""
    return tuple(getattr(worker, "modules", ()))
