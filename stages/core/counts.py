"""How many samples a stage made, reused and dropped, and what it measured: printed, logged, and passed on to later stages."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, NonNegativeInt, TypeAdapter

from stages.core.files import read_written, remove, write_json, written_aside
from stages.core.paths import LOGS

COUNTS_FILE, FIGURES_FILE = "counts.json", "figures.json"

_COUNTS = TypeAdapter(dict[str, dict[str, NonNegativeInt]], config=ConfigDict(strict=True))
_FIGURES = TypeAdapter(dict[str, dict[str, float]], config=ConfigDict(strict=True))


@dataclass(kw_only=True)
class StageCounts:
    """Samples that a stage made in this run, reused from earlier runs, and dropped in any of them, by reason."""

    stage: str
    done: int = 0
    reused: int = 0
    shards_done: int = 0
    shards_reused: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    left_out: int = 0  # of those made or reused: dropped all the same, because later stages pass over them
    figures: dict[str, float] = field(default_factory=dict)  # other measurements of this stage, name → value
    seconds: float | None = field(default=None, compare=False)  # that making ``done`` took, models' loading too, if measured

    @property
    def kept(self) -> int:
        """Samples that later stages see."""
        return self.done + self.reused - self.left_out

    def report(self) -> None:
        """Print the counts as a short table, and write them to logs/STAGE.json, with the seconds if they were measured."""
        rows = [
            ("kept", self.kept, ""),
            ("done", self.done, f"{self.shards_done} shards"),
            ("reused", self.reused, f"{self.shards_reused} shards"),
            *((f"dropped: {reason}", count, "") for reason, count in sorted(self.dropped.items())),
        ]
        width = max(len(row[0]) for row in rows)
        print(f"\n{self.stage}")
        for name, count, remark in rows:
            print(f"  {name:<{width}}  {count:>8,}  {remark}".rstrip())
        for name, figure in self.figures.items():
            print(f"  {name:<{width}}  {figure:>8.3f}")
        counts: dict[str, Any] = {"kept": self.kept, "done": self.done, "reused": self.reused, "dropped": dict(self.dropped)}
        counts |= {"shards_done": self.shards_done, "shards_reused": self.shards_reused}
        if self.seconds is not None:
            counts["seconds"] = round(self.seconds, 3)
        write_json(LOGS / f"{self.stage}.json", counts | self.figures)


def pass_on_counts(counts: StageCounts, folder: Path, upstream: Path | None = None) -> None:
    """Write ``folder/counts.json``: samples dropped by every stage up to this one, as stage → reason → samples.

    It extends the upstream folder's counts, so a reader of ``folder`` needs no folder before it. What stages measured goes
    the same way, to ``folder/figures.json``, as stage → name → value.

    Args:
        counts: this stage's counts; only ``stage``, ``dropped`` and ``figures`` are written.
        folder: the stage's output.
        upstream: the folder that the stage reads its samples from; None for the first stage.

    Raises:
        InputError: the upstream counts are missing or damaged, or its figures are.
    """
    before = read_counts(upstream) if upstream is not None else {}
    dropped = before | {counts.stage: dict(sorted(counts.dropped.items()))}
    with written_aside(folder / COUNTS_FILE) as temporary:  # not sorted: the stages stand in the pipeline's order
        temporary.write_text(json.dumps(dropped, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    figures = (read_figures(upstream) if upstream is not None else {}) | (
        {counts.stage: counts.figures} if counts.figures else {}
    )
    if figures:
        write_json(folder / FIGURES_FILE, figures)
    else:
        remove(folder / FIGURES_FILE)


def read_figures(folder: Path) -> dict[str, dict[str, float]]:
    """Return what each stage up to the one that wrote ``folder`` measured, as stage → name → value; there may be nothing.

    Raises:
        InputError: the figures are damaged.
    """
    path = folder / FIGURES_FILE
    return read_written(path, _FIGURES.validate_json) if path.exists() else {}


def read_counts(folder: Path) -> dict[str, dict[str, int]]:
    """Return the samples dropped by each stage up to the one that wrote ``folder``, as stage → reason → samples.

    Raises:
        InputError: the counts are missing or damaged.
    """
    return read_written(folder / COUNTS_FILE, _COUNTS.validate_json)
