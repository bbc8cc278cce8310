"""Cases whose sources the base model drew: the words of the held-out cases, on pictures that nobody has seen."""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from stages.comparison.cases import Case, CaseSet, masked_by_referee, read_cases, read_shard
from stages.core.errors import InputError
from stages.core.params import Params, Sampling
from stages.core.paths import GENERATED_CASES
from stages.core.provenance import source_digest
from stages.core.shards import SERIAL, Advance, InProcess, ShardFiles, ShardResult, ShardTask, list_shards, map_shards
from stages.corpus.samples import EditSample, write_edits
from stages.editing.batch_editor import BatchEditor
from stages.editing.settings import adjust_sampling
from stages.models.hub import identity
from stages.models.referee import find_regions, load_referee
from stages.models.segmenter import Segmenter
from stages.models.tensors import device, to_images

DRAWS = 20  # pictures to draw for a case before giving it up
NOT_FOUND = f"not found by the referee in {DRAWS} pictures"


def write_cases(params: Params, base: BatchEditor) -> CaseSet:
    """Draw a source for each case of Table 1 (b), mask it by the referee, and return the cases that have one.

    The cases are kept in GENERATED_CASES, one shard per batch; those that are there already are not drawn again.

    Raises:
        InputError: the referee is refused, or finds what an edit is about in none of the pictures.
    """
    config, threshold = params.evaluate, params.segment.threshold
    cases = read_cases(params).cases
    batches = {f"{start:08d}": cases[start : start + config.batch] for start in range(0, len(cases), config.batch)}
    sampling = adjust_sampling(params.sampling, strength=1.0, guidance_scale=config.systems.inpainting.guidance_scale)
    referee = load_referee(params)

    def work(task: ShardTask, files: ShardFiles, advance: Advance) -> ShardResult:
        wanted = [case.sample for case in batches[task.name]]
        drawn = draw_sources(wanted, base, referee, threshold, sampling, params.seed)
        advance(len(wanted))
        return ShardResult(done=write_edits(files.output, drawn), dropped=Counter({NOT_FOUND: len(wanted) - len(drawn)}))

    settings = {
        "base": identity(config.base),
        "referee": identity(config.referee),
        "threshold": threshold,
        "sampling": sampling.model_dump(exclude={"mask_threshold", "mask_margin", "mask_draft"}),
        "seed": params.seed,
        "code": source_digest(__file__),
    }
    tasks = [_task(name, batch) for name, batch in batches.items()]
    map_shards(
        stage="sources",
        tasks=tasks,
        folder=GENERATED_CASES,
        suffixes=(".tar",),
        settings=settings,
        worker=InProcess(work),
        execution=SERIAL,
    ).report()
    kept = [case for shard in list_shards(GENERATED_CASES, ".tar") for case in read_shard(shard)]
    if not kept:
        raise InputError(
            f"evaluate.referee.name = {config.referee.name!r}: finds nothing in what evaluate.base = {config.base.name!r} "
            f"draws; lower segment.threshold = {threshold:g}, or name other models"
        )
    return CaseSet(cases=kept, masks="referee", left_out=len(cases) - len(kept))


def draw_sources(
    cases: Sequence[EditSample], base: BatchEditor, referee: Segmenter, threshold: float, sampling: Sampling, seed: int
) -> list[EditSample]:
    """Return the cases with sources that the base model draws from their captions.

    A source is drawn again until the referee finds in it what the edit is about, at most DRAWS times; then the case is
    left out. A mask that is empty or covers the whole picture finds nothing.

    Args:
        cases: n, all of one size.
        base: the model that draws.
        referee: finds the source term in a picture.
        threshold: the probability from which a pixel is in a mask.
        sampling: how the sources are drawn.
        seed: the pipeline's seed.
    """
    found: dict[str, EditSample] = {}
    for attempt in range(DRAWS):
        missing = [case for case in cases if case.key not in found]
        if not missing:
            break
        pictures = to_images(_draw(missing, base, sampling, seed, attempt))
        masks = find_regions(referee, pictures, [case.source_diff for case in missing], threshold)
        for case, picture, mask in zip(missing, pictures, masks, strict=True):
            if mask is not None:
                found[case.key] = masked_by_referee(case, picture, mask)
    return [found[case.key] for case in cases if case.key in found]


def _draw(cases: Sequence[EditSample], base: BatchEditor, sampling: Sampling, seed: int, attempt: int) -> Tensor:
    """Return pictures of the source captions, (n, 3, h, w) in [0, 1], drawn from pure noise.

    The noise differs from that of every edit: an edit that started from the noise of its own source would reproduce it.
    """
    side = cases[0].source.width
    return base.edit_batch(
        torch.zeros(len(cases), 3, side, side, device=device()),
        [case.source_caption for case in cases],
        masks=None,
        sampling=sampling,
        seed=seed,
        keys=[f"source {case.key}/{attempt}" for case in cases],
        from_noise=True,
    )


def _task(name: str, batch: Sequence[Case]) -> ShardTask:
    return ShardTask(
        name=name,
        inputs=(),
        samples=len(batch),
        settings={"cases": [[case.sample.key, case.digest] for case in batch]},
    )
