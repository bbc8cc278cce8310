"""The cases, and every system's edits of them, made batch by batch and kept: a kill loses one batch of one system."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from stages.comparison.cases import Case
from stages.comparison.systems import System
from stages.core.files import remove, value_digest
from stages.core.params import Params
from stages.core.provenance import source_digest
from stages.core.shards import ShardResult, ShardTask, StageCounts, map_shards
from stages.corpus.samples import EditSample
from stages.editing.editor import Editor
from stages.models.tensors import device, mask_to_tensor

SUFFIX = ".safetensors"
TIMED = 5  # edits by which the time of one is told
MASKS = "masks"  # the folder beside those of the systems


@dataclass(frozen=True, kw_only=True)
class Edits:
    """What came out, in the order of the n cases, on the CPU."""

    pictures: dict[str, Tensor]  # of each system, (n, 3, h, w) in [0, 1]
    masks: Tensor  # where the segmenter finds in the source what the edits are about, (n, 1, h, w), 0 or 1
    counts: StageCounts  # of pictures made now and before


def edit_cases(
    cases: Sequence[Case], systems: Mapping[str, System], finder: Editor, segmenter: str, params: Params, folder: Path
) -> Edits:
    """Return the edits of every system; what of them is in ``folder`` already, made from the same, is not made again.

    All systems start from the same noise for a case, so that they differ in nothing but what they are.

    Args:
        cases: n, at least one.
        systems: by name.
        finder: predicts the masks.
        segmenter: the identity of the finder's segmenter.
        params: when a mask is one, the seed, and the size of a batch.
        folder: keeps what is made.
    """
    wanted = [case.sample for case in cases]

    def predict(rows: slice) -> Tensor:
        return _find_masks(finder, wanted[rows], params)

    def edit(system: System, rows: slice) -> Tensor:
        part = wanted[rows]
        return system.edit(part, _masks_for(system, part, lambda: predicted[rows]), params.seed)

    batch = params.evaluate.batch
    masking = {"segmenter": segmenter, "threshold": params.sampling.mask_threshold}
    predicted, _ = _make(MASKS, predict, cases, batch, masking, folder)
    pictures: dict[str, Tensor] = {}
    made_by: dict[str, str] = {}  # a digest of the settings → the first system that has them
    counts = []
    for name, system in systems.items():
        settings = {**system.settings, "seed": params.seed, "masks": system.masks}
        settings |= masking if system.masks == "predicted" else {}
        first = made_by.setdefault(value_digest(settings), name)
        if first == name:
            pictures[name], made = _make(name, partial(edit, system), cases, batch, settings, folder)
            counts.append(made)
        else:
            pictures[name] = pictures[first]
    for stranger in [path for path in folder.iterdir() if path.name not in {MASKS, *made_by.values()}]:
        remove(stranger)  # of a system that is not compared any more
    total = StageCounts(
        stage="evaluate",
        done=sum(made.done for made in counts),
        reused=sum(made.reused for made in counts),
        shards_done=sum(made.shards_done for made in counts),
        shards_reused=sum(made.shards_reused for made in counts),
    )
    return Edits(pictures=pictures, masks=predicted, counts=total)


def time_edits(cases: Sequence[Case], systems: Mapping[str, System], finder: Editor, params: Params) -> dict[str, float]:
    """Return the median seconds of one edit of one picture by each system, finding its mask included.

    They take turns, so that whatever else slows the machine slows all.
    """
    sample = cases[0].sample
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(TIMED):
        for name, system in systems.items():
            started = time.perf_counter()
            masks = _masks_for(system, [sample], lambda: _find_masks(finder, [sample], params))
            system.edit([sample], masks, params.seed)
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(each) for name, each in seconds.items()}


def _find_masks(finder: Editor, cases: Sequence[EditSample], params: Params) -> Tensor:
    """Return where the edits belong, as the finder's segmenter sees it, (n, 1, h, w), 0 or 1."""
    terms, source_terms = [case.target_diff for case in cases], [case.source_diff for case in cases]
    return finder.predict_masks([case.source for case in cases], terms, source_terms, params.sampling.mask_threshold)


def _masks_for(system: System, cases: Sequence[EditSample], predict: Callable[[], Tensor]) -> Tensor | None:
    """Return the masks that a system edits some cases within, (n, 1, h, w), 0 or 1; None: it edits everywhere."""
    match system.masks:
        case "true":
            return mask_to_tensor([case.source_mask for case in cases]).round()
        case "predicted":
            return predict().to(device())
        case None:
            return None


def _make(
    name: str,
    make: Callable[[slice], Tensor],
    cases: Sequence[Case],
    batch: int,
    settings: Mapping[str, Any],
    folder: Path,
) -> tuple[Tensor, StageCounts]:
    """Return what ``make`` gives for the rows of each batch of cases, one after another; it is kept below ``folder``."""
    rows = {f"{start:08d}": slice(start, start + batch) for start in range(0, len(cases), batch)}

    def work(task: ShardTask, output: Path, advance: Callable[[int], object]) -> ShardResult:  # noqa: ARG001
        save_file({name: make(rows[task.name]).cpu().contiguous()}, output)
        return ShardResult(done=task.samples)

    tasks = [
        ShardTask(
            name=start,
            inputs=tuple(sorted({case.shard for case in cases[part]})),
            samples=len(cases[part]),
            settings={"keys": [case.sample.key for case in cases[part]]},
        )
        for start, part in rows.items()
    ]
    code = source_digest(__file__)
    counts = map_shards(
        stage=name, tasks=tasks, folder=folder / name, suffix=SUFFIX, settings={**settings, "code": code}, work=work
    )
    return torch.cat([load_file(folder / name / f"{start}{SUFFIX}")[name] for start in rows]), counts
