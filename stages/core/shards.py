"""Work shard by shard: the one mechanism behind resuming, incremental runs and repeatable bytes.

A stage is a function from one input shard to one output file. The file is written aside and renamed; its sidecar,
written last, holds the fingerprint of the inputs and the digest of the output. A shard with a matching sidecar is not
remade, and a file without one never counts as whole.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, NonNegativeInt, TypeAdapter, ValidationError
from tqdm import tqdm

from stages.core.errors import InputError
from stages.core.files import TEMPORARY_SUFFIX, file_digest, remove, value_digest, write_json, written_aside
from stages.core.paths import LOGS

SIDECAR_SUFFIX = ".done.json"
COUNTS_FILE = "counts.json"

_COUNTS = TypeAdapter(dict[str, dict[str, NonNegativeInt]], config=ConfigDict(strict=True))


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """One shard to make."""

    name: str  # the output's name without suffix: "00000"
    inputs: tuple[Path, ...]  # files whose bytes decide the output
    samples: int  # input samples, for the progress bar
    settings: Mapping[str, Any] = field(default_factory=dict)  # other values that decide this shard's output


@dataclass(kw_only=True)
class ShardResult:
    """The outcome of making one shard."""

    done: int = 0
    dropped: Counter[str] = field(default_factory=Counter)  # reason → samples
    notes: list[dict[str, Any]] = field(default_factory=list)  # kept in the sidecar, for example the refused images


Work = Callable[[ShardTask, Path, Callable[[int], object]], ShardResult]
"""Writes a task's output to a path, and calls the third argument with the number of samples just finished."""


class Sidecar(BaseModel):
    """The record beside a whole shard."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    fingerprint: str  # digest of the inputs and settings
    digest: str  # digest of the output's bytes
    done: NonNegativeInt
    dropped: dict[str, NonNegativeInt]
    notes: list[dict[str, Any]]


@dataclass(kw_only=True)
class StageCounts:
    """Samples that a stage made in this run, reused from earlier runs, and dropped in any of them, by reason."""

    stage: str
    done: int = 0
    reused: int = 0
    shards_done: int = 0
    shards_reused: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    notes: list[dict[str, Any]] = field(default_factory=list)

    def report(self) -> None:
        """Print the counts as a short table and write them to logs/STAGE.json."""
        rows = [
            ("done", self.done, f"{self.shards_done} shards"),
            ("reused", self.reused, f"{self.shards_reused} shards"),
            *((f"dropped: {reason}", count, "") for reason, count in sorted(self.dropped.items())),
        ]
        width = max(len(row[0]) for row in rows)
        print(f"\n{self.stage}")
        for name, count, remark in rows:
            print(f"  {name:<{width}}  {count:>8,}  {remark}".rstrip())
        counts = {"done": self.done, "reused": self.reused, "dropped": dict(self.dropped)}
        counts |= {"shards_done": self.shards_done, "shards_reused": self.shards_reused}
        write_json(LOGS / f"{self.stage}.json", counts)


def map_shards(
    *, stage: str, tasks: Sequence[ShardTask], folder: Path, suffix: str, settings: Mapping[str, Any], work: Work
) -> StageCounts:
    """Make ``folder/NAME + suffix`` for every task whose fingerprint changed, and remove shards that no task names.

    Args:
        stage: the name on the progress bar and in the counts.
        tasks: the shards, in order.
        folder: the folder for outputs and sidecars.
        suffix: the outputs' suffix with its dot, such as ".tar".
        settings: everything besides the inputs that decides every output, as JSON: parameters, model identities, the
            digest of the code.
        work: makes one shard.

    Raises:
        InputError: an input cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _remove_strangers(folder, suffix, {task.name for task in tasks})
    counts = StageCounts(stage=stage)
    with tqdm(total=sum(task.samples for task in tasks), desc=stage, unit="sample", mininterval=1) as bar:
        for task in tasks:
            output, sidecar = folder / f"{task.name}{suffix}", folder / f"{task.name}{SIDECAR_SUFFIX}"
            inputs = [_input_digest(path) for path in task.inputs]
            fingerprint = value_digest({"inputs": inputs, "settings": [dict(settings), dict(task.settings)]})
            before = bar.n
            record = _whole(output, sidecar, fingerprint)
            if record is not None:
                counts.shards_reused += 1
                counts.reused += record.done
            else:
                sidecar.unlink(missing_ok=True)
                with written_aside(output) as temporary:
                    result = work(task, temporary, bar.update)
                record = Sidecar(
                    fingerprint=fingerprint,
                    digest=file_digest(output),
                    done=result.done,
                    dropped=dict(result.dropped),
                    notes=result.notes,
                )
                write_json(sidecar, record.model_dump())
                counts.shards_done += 1
                counts.done += result.done
            counts.dropped.update(record.dropped)
            counts.notes += record.notes
            bar.update(before + task.samples - bar.n)
    return counts


def list_shards(folder: Path, suffix: str) -> list[Path]:
    """Return the whole shards of ``folder``, sorted by name.

    Raises:
        InputError: the folder has no shard.
    """
    shards = [path for path in sorted(folder.glob(f"*{suffix}")) if _sidecar(path, suffix).exists()]
    if not shards:
        raise InputError(f"{folder}: no {suffix} shards; run the stage that writes them")
    return shards


def count_samples(shard: Path, suffix: str) -> int:
    """Return how many samples a shard holds, from its sidecar.

    Raises:
        InputError: the sidecar is missing or damaged.
    """
    return _read_written(_sidecar(shard, suffix)).done


def pass_on_counts(counts: StageCounts, folder: Path, upstream: Path | None = None) -> None:
    """Write ``folder/counts.json``: samples dropped by every stage up to this one, as stage → reason → samples.

    It extends the upstream folder's counts, so a reader of ``folder`` needs no folder before it.

    Args:
        counts: this stage's counts; only ``stage`` and ``dropped`` are written.
        folder: the stage's output.
        upstream: the folder that the stage reads its samples from; None for the first stage.

    Raises:
        InputError: the upstream counts are missing or damaged.
    """
    before = read_counts(upstream) if upstream is not None else {}
    dropped = before | {counts.stage: dict(sorted(counts.dropped.items()))}
    with written_aside(folder / COUNTS_FILE) as temporary:  # not sorted: the stages stand in the pipeline's order
        temporary.write_text(json.dumps(dropped, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_counts(folder: Path) -> dict[str, dict[str, int]]:
    """Return the samples dropped by each stage up to the one that wrote ``folder``, as stage → reason → samples.

    Raises:
        InputError: the counts are missing or damaged.
    """
    path = folder / COUNTS_FILE
    try:
        return _COUNTS.validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; run the stage that writes it") from error
    except ValidationError as error:
        raise InputError(f"{path}: damaged; run the stage that writes it") from error


def _input_digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _sidecar(shard: Path, suffix: str) -> Path:
    return shard.with_name(shard.name.removesuffix(suffix) + SIDECAR_SUFFIX)


def _whole(output: Path, sidecar: Path, fingerprint: str) -> Sidecar | None:
    """Return the sidecar if its fingerprint matches and the output still has the bytes that were written, else None."""
    if not (output.exists() and sidecar.exists()):
        return None
    try:
        record = _read(sidecar)
    except ValidationError:  # damaged, so it proves nothing
        return None
    return record if record.fingerprint == fingerprint and record.digest == file_digest(output) else None


def _read(sidecar: Path) -> Sidecar:
    return Sidecar.model_validate_json(sidecar.read_bytes())


def _read_written(sidecar: Path) -> Sidecar:
    """Return the sidecar of a shard that an earlier stage wrote."""
    try:
        return _read(sidecar)
    except FileNotFoundError as error:
        raise InputError(f"{sidecar}: no such file; run the stage that writes it") from error
    except ValidationError as error:
        raise InputError(f"{sidecar}: damaged; run the stage that writes it") from error


def _remove_strangers(folder: Path, suffix: str, names: Iterable[str]) -> None:
    """Remove shards that no task names, and the leftovers of interrupted runs."""
    kept = {f"{name}{ending}" for name in names for ending in (suffix, SIDECAR_SUFFIX)}
    for path in folder.iterdir():
        if path.name not in kept and path.name.endswith((suffix, SIDECAR_SUFFIX, TEMPORARY_SUFFIX)):
            remove(path)
