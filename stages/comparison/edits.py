"""Every system's edits of the cases, made batch by batch and kept: a kill loses at most one batch of one system."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from stages.comparison.cases import Case
from stages.comparison.edited import Edited
from stages.comparison.masks import find_masks, masks_for
from stages.comparison.systems import System
from stages.core.files import remove, value_digest
from stages.core.params import Params
from stages.core.provenance import source_digest
from stages.core.shards import SERIAL, Advance, InProcess, ShardFiles, ShardResult, ShardTask, StageCounts, map_shards
from stages.editing.batch_editor import BatchEditor

SUFFIX = ".safetensors"
PICTURES, FAILED = "pictures", "failed"  # tensors of a batch of edits; see :class:`stages.comparison.edited.Edited`
MASKS = "masks"  # folder of the predicted masks, beside the systems' folders, and their tensor


@dataclass(frozen=True, kw_only=True)
class Edits:
    """The edits of n cases in their order, on the CPU."""

    made: dict[str, Edited]  # system → its edits
    masks: Tensor  # the predicted masks, (n, 1, h, w), 0 or 1
    counts: StageCounts  # pictures made in this run, and in earlier ones

    @property
    def pictures(self) -> dict[str, Tensor]:
        """System → its pictures, (n, 3, h, w) in [0, 1]."""
        return {system: edited.pictures for system, edited in self.made.items()}


def edit_cases(
    cases: Sequence[Case],
    systems: Mapping[str, System],
    finder: BatchEditor,
    segmenter: str,
    params: Params,
    folder: Path,
    *,
    keep_others: bool = False,
) -> Edits:
    """Return the edits of every system; those that ``folder`` holds already, made from the same inputs, are reused.

    All systems start a case from the same noise, so that nothing but the systems differs. Systems with equal settings
    share their edits.

    Args:
        cases: n, at least one.
        systems: name → system.
        finder: predicts the masks.
        segmenter: the identity of the finder's segmenter.
        params: the mask threshold, the seed, and the size of a batch.
        folder: keeps the edits.
        keep_others: whether edits of systems that are not compared now are kept; else they are removed.
    """
    batches = _Batches(cases=cases, size=params.evaluate.batch, folder=folder)
    samples = [case.sample for case in cases]
    threshold = params.sampling.mask_threshold
    masking = {"segmenter": segmenter, "threshold": threshold}
    found, _ = batches.make(MASKS, lambda rows: {MASKS: find_masks(finder, samples[rows], threshold)}, masking)
    predicted = found[MASKS]
    edits: dict[str, Edited] = {}
    made_by: dict[str, str] = {}  # digest of settings → the first system that has them
    counts = []

    def edit(system: System, rows: slice) -> dict[str, Tensor]:
        system.prepare()
        part = samples[rows]
        edited = system.edit(part, masks_for(system, part, lambda: predicted[rows]), params.seed)
        return {PICTURES: edited.pictures, FAILED: edited.failed}

    for name, system in systems.items():
        settings = {**system.settings, "seed": params.seed, "masks": system.masks}
        settings |= masking if system.masks == "predicted" else {}
        first = made_by.setdefault(value_digest(settings), name)
        if first == name:
            made, count = batches.make(name, partial(edit, system), settings)
            edits[name] = Edited(pictures=made[PICTURES], failed=made[FAILED])
            counts.append(count)
        else:
            edits[name] = edits[first]
    if not keep_others:
        for stranger in [path for path in folder.iterdir() if path.name not in {MASKS, *made_by.values()}]:
            remove(stranger)
    return Edits(made=edits, masks=predicted, counts=_total(counts))


@dataclass(frozen=True, kw_only=True)
class _Batches:
    """Cases in batches; the result of each batch is kept in its own file below ``folder``."""

    cases: Sequence[Case]
    size: int
    folder: Path

    def make(
        self, name: str, make: Callable[[slice], dict[str, Tensor]], settings: Mapping[str, Any]
    ) -> tuple[dict[str, Tensor], StageCounts]:
        """Return what ``make`` returns for each batch, one after another, and how many cases were made or reused.

        Args:
            name: names the folder.
            make: rows of the cases → their tensors by name.
            settings: everything that decides the tensors besides the cases and the code; JSON.
        """
        rows = {f"{start:08d}": slice(start, start + self.size) for start in range(0, len(self.cases), self.size)}

        def work(task: ShardTask, files: ShardFiles, advance: Advance) -> ShardResult:  # noqa: ARG001
            save_file({key: tensor.cpu().contiguous() for key, tensor in make(rows[task.name]).items()}, files.output)
            return ShardResult(done=task.samples)

        tasks = [
            ShardTask(
                name=start,
                inputs=(),
                samples=len(self.cases[part]),
                settings={"cases": [[case.sample.key, case.digest] for case in self.cases[part]]},
            )
            for start, part in rows.items()
        ]
        folder = self.folder / name
        all_settings = {**settings, "code": source_digest(__file__)}
        counts = map_shards(
            stage=name,
            tasks=tasks,
            folder=folder,
            suffixes=(SUFFIX,),
            settings=all_settings,
            worker=InProcess(work),
            execution=SERIAL,
        )
        parts = [load_file(folder / f"{start}{SUFFIX}") for start in rows]
        return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}, counts


def _total(counts: Sequence[StageCounts]) -> StageCounts:
    return StageCounts(
        stage="evaluate",
        done=sum(made.done for made in counts),
        reused=sum(made.reused for made in counts),
        shards_done=sum(made.shards_done for made in counts),
        shards_reused=sum(made.shards_reused for made in counts),
    )
