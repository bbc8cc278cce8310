"""Every system's edits of a benchmark's cases, a chunk at a time: all edits of a benchmark may not fit the memory."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from stages.benchmarks.case import BenchmarkCase
from stages.comparison.edits import edit_cases
from stages.comparison.systems import Models, System
from stages.core.errors import InputError
from stages.core.params import Params
from stages.models.hub import identity
from stages.models.tensors import to_images

BATCHES = 4  # in a chunk


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Cases and their edits."""

    cases: Sequence[BenchmarkCase]
    edits: Mapping[str, Mapping[str, Image.Image]]  # system → key → edit, at the models' size
    failed: Mapping[str, set[str]]  # system → keys of the edits that failed: the mask is empty, so the edit is its source

    @property
    def scored(self) -> list[BenchmarkCase]:
        """The cases that count."""
        return [case for case in self.cases if case.is_scored]


def edit_in_chunks(
    cases: Sequence[BenchmarkCase], systems: Mapping[str, System], models: Models, params: Params, folder: Path
) -> Iterator[Chunk]:
    """Yield the edits of all cases in their order; those that ``folder`` holds already are reused.

    Args:
        cases: at least one.
        systems: name → system.
        models: its tuned editor predicts the masks.
        params: size, seed, mask threshold and the size of a batch.
        folder: keeps the edits.
    """
    for number, part in enumerate(chunks(cases, BATCHES * params.evaluate.batch)):
        work = _Work(systems=systems, models=models, params=params, folder=folder / f"{number:06d}")
        yield Chunk(cases=part, edits=work.edit(part), failed=work.failed)


def chunks(cases: Sequence[BenchmarkCase], size: int) -> Iterator[list[BenchmarkCase]]:
    """Yield the cases in runs of at least ``size`` cases, all but the last; cases that follow each other stay together."""
    part: list[BenchmarkCase] = []
    for case in cases:
        if len(part) >= size and not case.after:
            yield part
            part = []
        part.append(case)
    yield part


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What edits one chunk."""

    systems: Mapping[str, System]
    models: Models
    params: Params
    folder: Path
    made: dict[str, dict[str, Image.Image]] = field(default_factory=dict)  # system → key → edit
    failed: dict[str, set[str]] = field(default_factory=dict)  # system → keys

    def edit(self, cases: Sequence[BenchmarkCase]) -> Mapping[str, Mapping[str, Image.Image]]:
        """Edit the cases that start from a source, then round by round those that follow an edit."""
        self.made.update({system: {} for system in self.systems})
        self.failed.update({system: set() for system in self.systems})
        self._edit_round([case for case in cases if not case.after], self.systems, "first")
        waiting = [case for case in cases if case.after]
        number = 2
        while waiting:
            done = next(iter(self.made.values()))
            ready = [case for case in waiting if case.after in done]
            if not ready:
                raise InputError(f"{waiting[0].key}: follows {waiting[0].after}, which is no case before it")
            for name, system in self.systems.items():
                self._edit_round(ready, {name: system}, f"{name}-{number}")
            waiting = [case for case in waiting if case not in ready]
            number += 1
        return self.made

    def _edit_round(self, cases: Sequence[BenchmarkCase], systems: Mapping[str, System], name: str) -> None:
        if not cases:
            return
        size, config = self.params.ingest.size, self.params.evaluate
        sources = self.made[next(iter(systems))]  # all rounds but the first have one system
        asked = [case.at(size, sources.get(case.after)) for case in cases]
        segmenter, folder = identity(config.segmenter), self.folder / name
        found = edit_cases(asked, systems, self.models.tuned, segmenter, self.params, folder, keep_others=True)
        keys = [case.key for case in cases]
        for system, edited in found.made.items():
            self.made[system] |= dict(zip(keys, to_images(edited.pictures), strict=True))
            self.failed[system] |= {key for key, failed in zip(keys, edited.failed.tolist(), strict=True) if failed}
