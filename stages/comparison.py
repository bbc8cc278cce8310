"""The edits of every system on every case, made batch by batch and kept, so that a kill loses one batch of one system."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from stages.corpus.samples import EditSample
from stages.editor import Editor
from stages.files import remove
from stages.models import to_tensor
from stages.params import Params
from stages.provenance import source_digest
from stages.shards import ShardResult, ShardTask, StageCounts, map_shards

SUFFIX = ".safetensors"
MASKS = "masks"  # the folder beside those of the systems


@dataclass(frozen=True, kw_only=True)
class Case:
    """An edit that is asked for, and the shard that it is from."""

    shard: Path
    sample: EditSample


@dataclass(frozen=True, kw_only=True)
class System:
    """What is compared."""

    editor: Editor
    identity: str  # of the editor's model
    is_masked: bool  # whether it edits within the predicted mask only


@dataclass(frozen=True, kw_only=True)
class Edits:
    """What came out, in the order of the n cases, on the CPU."""

    pictures: dict[str, Tensor]  # of each system, (n, 3, h, w) in [0, 1]
    masks: Tensor  # where the edits belong, as the segmenter finds it, (n, 1, h, w), 0 or 1
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
        params: how edits are sampled, the seed, and the size of a batch.
        folder: keeps what is made.
    """
    wanted = [case.sample for case in cases]

    def predict(rows: slice) -> Tensor:
        part = wanted[rows]
        terms, source_terms = [case.target_diff for case in part], [case.source_diff for case in part]
        return finder.predict_masks([case.source for case in part], terms, source_terms, params.sampling.mask_threshold)

    def edit(system: System, rows: slice) -> Tensor:
        part = wanted[rows]
        pictures = to_tensor([case.source for case in part])
        return system.editor.edit_batch(
            pictures,
            [case.edit_prompt for case in part],
            masks=masks[rows].to(pictures) if system.is_masked else None,
            sampling=params.sampling,
            seed=params.seed,
            keys=[case.key for case in part],
        )

    batch = params.evaluate.batch
    masking = {"segmenter": segmenter, "threshold": params.sampling.mask_threshold}
    masks, _ = _make(MASKS, predict, cases, batch, masking, folder)
    pictures, counts = {}, []
    for name, system in systems.items():
        settings = {"sampling": params.sampling.model_dump(), "seed": params.seed, "model": system.identity}
        settings |= masking if system.is_masked else {}
        pictures[name], made = _make(name, partial(edit, system), cases, batch, settings, folder)
        counts.append(made)
    for stranger in [path for path in folder.iterdir() if path.name not in {MASKS, *systems}]:
        remove(stranger)  # of a system that is not compared any more
    total = StageCounts(
        stage="evaluate",
        done=sum(made.done for made in counts),
        reused=sum(made.reused for made in counts),
        shards_done=sum(made.shards_done for made in counts),
        shards_reused=sum(made.shards_reused for made in counts),
    )
    return Edits(pictures=pictures, masks=masks, counts=total)


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
