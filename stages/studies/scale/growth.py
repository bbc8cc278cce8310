"""The cost of every stage against the number of images, of a rerun, and of one shard more."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from stages.core.files import folder_digest, read_json, write_json
from stages.core.paths import PAIRS
from stages.studies.scale.figures import exponent, on_line
from stages.studies.scale.project import OUTS, PICTURES, STAGES, Cost, Project, run_all

SIZES = (500, 1000, 2000, 4000, 8000, 16000)
SHARD = 100  # images in a shard
START = 20  # images of the run whose cost counts as the start of a stage
ROUNDS = 3  # runs of the start, of an increment and of sizes up to REPEATED, whose medians count; a start costs about as much
REPEATED = 2000
INCREMENT_ON = 100  # shards that stand when one is added
GROWN = (INCREMENT_ON + 1) * SHARD  # images when it was added
PAIR_PARTS = ("key", "target_key", "source_diff", "target_diff")  # what a pair's masks are made for

Costs = Mapping[str, Cost]


@dataclass(frozen=True)
class Record:
    """What was measured so far, in a file, so that a measurement that was interrupted resumes."""

    path: Path

    def once(self, name: str, measure: Callable[[], Any]) -> Any:
        """Return what a function measures, or what it did when it was called for that name before."""
        known = read_json(self.path) if self.path.is_file() else {}
        if name not in known:
            print(f"  {name}", flush=True)
            known[name] = measure()
            write_json(self.path, known)
        return known[name]

    def costs(self, name: str, project: Callable[[], Project]) -> Costs:
        """Run all stages of a project and return their costs, once for each name."""
        found = self.once(name, lambda: {stage: cost.as_json() for stage, cost in run_all(project(), STAGES).items()})
        return {stage: Cost(**cost) for stage, cost in found.items()}


def measure_growth(folder: Path, sizes: Sequence[int] = SIZES) -> dict[str, Any]:
    """Run the stages from nothing for each size, then again, then on other sizes, and return what they cost.

    ``start`` is the CPU time of a stage on ``START`` images, nearly all of it imports and loading models; ``idle`` is that
    of a run with nothing to do. Among more images an edit finds a target more often, and a shard's pairs share fewer of
    their pictures; so stages that work on pairs have an exponent against the pictures that their networks see, too.

    Args:
        folder: a folder for the projects, where a measurement that was interrupted resumes.
        sizes: numbers of images, rising.
    """
    record = Record(folder / "costs.json")
    place = folder / "images"
    starts, idles = [], []
    found: dict[int, list[Costs]] = {size: [] for size in sizes}
    for number in range(ROUNDS):
        small = folder / f"start{number}"
        starts.append(record.costs(f"start, round {number}", partial(_from_nothing, small, START)))
        idles.append(record.costs(f"nothing to do, round {number}", partial(new_project, small, START)))
        for size in sizes:
            if size <= REPEATED or number == ROUNDS - 1:  # the largest comes last and stays
                found[size].append(record.costs(f"{size} images, round {number}", partial(_from_nothing, place, size)))
    start, idle, runs = _median(starts), _median(idles), {size: _median(costs) for size, costs in found.items()}
    rerun = record.costs("rerun", partial(new_project, place, sizes[-1]))
    largest = new_project(place, sizes[-1])
    return {
        "images": list(sizes),
        "shard": SHARD,
        "stages": {stage: _grown(stage, runs, start[stage].cpu) | {"idle": idle[stage].cpu} for stage in STAGES},
        "rerun": {stage: cost.as_json() for stage, cost in rerun.items()},
        "increment": record.once("one shard more", partial(_measure_increment, largest, runs, start)),
    }


def _grown(stage: str, runs: Mapping[int, Costs], start: float) -> dict[str, Any]:
    """Return the costs of a stage at all sizes, and how they grow."""
    seconds = [costs[stage].cpu - start for costs in runs.values()]
    found = {
        "start": start,
        "exponent": exponent(list(runs), seconds),
        "runs": {str(size): costs[stage].as_json() for size, costs in runs.items()},
    }
    if stage in PICTURES:
        found["exponent_against_pictures"] = exponent([costs[stage].pictures for costs in runs.values()], seconds)
    return found


def new_project(folder: Path, images: int) -> Project:
    """Return a project of the embedded world with a number of images."""
    return Project(folder, *world(images))


def world(images: int, engine: str = "serial", workers: int = 1) -> tuple[str, ...]:
    """Return the choices of an embedded world with a number of images, two held-out cases, and an engine.

    Training draws a quarter as many pairs as there are images: fewer than there are pairs of any size.
    """
    source = (
        "preset=embedded",
        "source=openmoji",
        f"ingest.source.images={images}",
        "ingest.source.cases=2",
        f"ingest.shard_size={SHARD}",
    )
    return (*source, f"train.steps={max(1, images // 32)}", f"execution.engine={engine}", f"execution.workers={workers}")


def _from_nothing(folder: Path, images: int) -> Project:
    shutil.rmtree(folder, ignore_errors=True)
    return new_project(folder, images)


def _median(runs: Sequence[Costs]) -> dict[str, Cost]:
    """Return for each stage the run with the median CPU time."""
    return {stage: sorted((costs[stage] for costs in runs), key=lambda cost: cost.cpu)[len(runs) // 2] for stage in STAGES}


def _measure_increment(project: Project, runs: Mapping[int, Costs], start: Costs) -> dict[str, Any]:
    """Shrink a whole project to ``INCREMENT_ON`` shards and add one, ROUNDS times; growing it back must give the first bytes.

    Args:
        project: whole, of the largest size.
        runs: the costs of each size from nothing; the cost of the grown corpus is read off the line through the two largest.
        start: the cost of each stage's start, which is left out of both.
    """
    sizes = list(runs)[-2:]
    _resize(project, sizes[-1])  # an interrupted measurement left it smaller
    before = _digests(project)
    rounds = []
    for _ in range(ROUNDS):
        _resize(project, INCREMENT_ON * SHARD)
        known = _pairs(project)
        rounds.append(_resize(project, GROWN))
        changed = _pairs(project) - known
    costs = _median(rounds)
    regrown = _resize(project, sizes[-1])
    starts = {stage: start[stage].cpu for stage in STAGES}
    added = beyond_start({stage: costs[stage].cpu for stage in STAGES}, starts)
    on = {stage: on_line(GROWN, sizes, [runs[size][stage].cpu for size in sizes]) for stage in STAGES}
    return {
        "images": INCREMENT_ON * SHARD,
        "added": SHARD,
        "stages": {stage: cost.as_json() for stage, cost in costs.items()},
        "constant": round(sum(start[stage].cpu for stage in STAGES), 3),
        "share": round(added / beyond_start(on, starts), 4),
        "pairs_new_or_changed": len(changed),
        "pairs_masked": costs["segment"].done,
        "regrown": {stage: cost.as_json() for stage, cost in regrown.items()},
        "same_bytes": _digests(project) == before,
    }


def beyond_start(costs: Mapping[str, float], starts: Mapping[str, float]) -> float:
    """Return what stages cost together beyond their starts; one that chanced to be faster than its start costs nothing."""
    return sum(max(0.0, cost - starts[stage]) for stage, cost in costs.items())


def _resize(project: Project, images: int) -> dict[str, Cost]:
    project.choose(*world(images))
    return run_all(project, STAGES)


def _digests(project: Project) -> dict[str, str]:
    """Return a digest of the outputs of each stage."""
    return {stage: "".join(folder_digest(project.folder / out) for out in outs) for stage, outs in OUTS.items()}


def _pairs(project: Project) -> set[tuple[str, ...]]:
    """Return the two pictures and the two phrases of every pair."""
    tables = (pq.read_table(path, columns=list(PAIR_PARTS)) for path in (project.folder / PAIRS).glob("*.parquet"))
    return {tuple(row[name] for name in PAIR_PARTS) for table in tables for row in table.to_pylist()}
