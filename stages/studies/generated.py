"""Table 1 (a): the systems of Table 1 on sources that the base model made up. ``python -m stages.studies.generated``.

What is asked for are the edits of Table 1 (b), of which only the words are taken. A made-up source has no true mask:
its mask comes from ``generated.referee``, a CLIPSeg by which no system predicts its own, and a source in which that one
does not find what the edit is about is drawn again. Interrupted, it goes on.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from stages.comparison.cases import Case, read_cases
from stages.comparison.edits import edit_cases
from stages.comparison.scoring import score_edits
from stages.comparison.systems import SYSTEMS, chosen_systems, load_models
from stages.core.errors import InputError
from stages.core.files import write_json
from stages.core.params import Params, Sampling
from stages.core.provenance import source_digest
from stages.core.run import run, set_threads
from stages.core.shards import ShardResult, ShardTask, list_shards, map_shards
from stages.corpus.samples import EditSample, read_edits, write_edits
from stages.editing.editor import Editor
from stages.editing.inputs import adjust_sampling
from stages.metrics.scores import summarise
from stages.models.clip import load_clip
from stages.models.hub import identity
from stages.models.segmenter import Segmenter, load_segmenter
from stages.models.tensors import to_images
from stages.models.vgg import load_vgg
from stages.report.claims import CLAIMED, judge_claims, markdown_claims
from stages.report.page import SHEET_CASES, contact_sheet, save_picture
from stages.report.results import NAMES, markdown_table, write_tables, write_text

SOURCES = Path("data/generated")  # the cases with their made-up sources
EDITED = Path("data/generated_edits")  # every system's edits of these
REPORTS = Path("reports/generated")
DRAWS = 20  # of a source, until the referee finds in it what the edit is about
NOT_FOUND = f"not found by the referee in {DRAWS} pictures"
INPAINTED = {"inpainting": "Inpainting (given masks)"}
SHOWN, CLAIMING = NAMES | INPAINTED, CLAIMED | INPAINTED
NOTE = "\nSources drawn by the base model; masks by a segmenter that predicts no system's. Inpainting is given these masks.\n"


def generated(params: Params) -> None:
    """Write ``reports/generated``: the tables and the claims of Table 1 on generated sources, and the first cases.

    Raises:
        InputError: the referee finds nothing in what the base model draws.
    """
    set_threads(params.threads)
    config = params.evaluate
    models = load_models(params)
    asked = _write_cases(params, models.base)
    cases = [case.sample for case in asked]
    made = edit_cases(asked, chosen_systems(models, params), models.tuned, identity(config.segmenter), params, EDITED)
    every = score_edits(cases, made.pictures, load_clip(config.judge), load_vgg(config.vgg), config.batch)
    scores = {system: every[system] for system in SYSTEMS}
    named = {"judge": config.judge, "vgg": config.vgg, "segmenter": config.segmenter, "referee": params.generated.referee}
    metrics = summarise(
        scores,
        resamples=config.bootstrap,
        seed=params.seed,
        models={name: {"name": model.name, "identity": identity(model)} for name, model in named.items()}
        | {name: {"identity": digest} for name, digest in models.identities.items()},
    )
    verdicts = judge_claims(every, config.bootstrap, params.seed)
    write_json(REPORTS / "metrics.json", metrics)
    write_tables(REPORTS, metrics, SHOWN)
    write_text(REPORTS / "table.md", markdown_table(metrics, SHOWN) + NOTE)
    write_text(REPORTS / "claims.md", markdown_claims(verdicts, CLAIMING, metrics["cases"]) + NOTE)
    shown = {system: to_images(made.pictures[system][:SHEET_CASES]) for system in SYSTEMS}
    save_picture(REPORTS / "sheet.png", contact_sheet(cases[:SHEET_CASES], shown, SHOWN, mask="given mask"))
    replace(made.counts, stage="generated").report()


def _write_cases(params: Params, base: Editor) -> list[Case]:
    """Return the cases of Table 1 (b), each with a source that the base model drew; they are kept, a shard a batch.

    Raises:
        InputError: there is none whose thing the referee finds.
    """
    config = params.evaluate
    asked = read_cases(list_shards(Path(config.cases), ".tar"), params)
    batches = {f"{start:08d}": asked[start : start + config.batch] for start in range(0, len(asked), config.batch)}
    sampling = adjust_sampling(params.sampling, strength=1.0, guidance_scale=config.systems.inpainting.guidance_scale)
    referee = load_segmenter(params.generated.referee)

    def work(task: ShardTask, output: Path, advance: Callable[[int], object]) -> ShardResult:
        wanted = [case.sample for case in batches[task.name]]
        made = _draw_sources(wanted, base, referee, sampling, params.seed)
        advance(len(wanted))
        return ShardResult(done=write_edits(output, made), dropped=Counter({NOT_FOUND: len(wanted) - len(made)}))

    tasks = [
        ShardTask(
            name=name,
            inputs=tuple(sorted({case.shard for case in batch})),
            samples=len(batch),
            settings={"keys": [case.sample.key for case in batch]},
        )
        for name, batch in batches.items()
    ]
    settings = {
        "base": identity(config.base),
        "referee": identity(params.generated.referee),
        "sampling": sampling.model_dump(exclude={"mask_margin", "mask_draft"}),
        "seed": params.seed,
        "code": source_digest(__file__),
    }
    map_shards(stage="sources", tasks=tasks, folder=SOURCES, suffix=".tar", settings=settings, work=work).report()
    made = [Case(shard=shard, sample=case) for shard in list_shards(SOURCES, ".tar") for case in read_edits(shard)]
    if not made:
        raise InputError(
            f"generated.referee = {params.generated.referee.name!r}: finds nothing in what "
            f"evaluate.base = {config.base.name!r} draws; lower sampling.mask_threshold, or name other models"
        )
    return made


def _draw_sources(
    cases: Sequence[EditSample], base: Editor, referee: Segmenter, sampling: Sampling, seed: int
) -> list[EditSample]:
    """Return the cases with sources that the base model draws of their captions; the source stands for the target too.

    Those are left out whose thing the referee finds in none of DRAWS pictures.
    """
    found: dict[str, EditSample] = {}
    for attempt in range(DRAWS):
        missing = [case for case in cases if case.key not in found]
        if not missing:
            break
        pictures = to_images(_draw(missing, base, sampling, seed, attempt))
        masks = referee.probabilities(pictures, [case.source_diff for case in missing]) >= sampling.mask_threshold
        for case, picture, mask in zip(missing, pictures, masks, strict=True):
            if mask.any() and not mask.all():
                region = to_images(mask.float().expand(1, 3, -1, -1))[0].convert("L")
                found[case.key] = replace(case, source=picture, target=picture, source_mask=region, target_mask=region)
    return [found[case.key] for case in cases if case.key in found]


def _draw(cases: Sequence[EditSample], base: Editor, sampling: Sampling, seed: int, attempt: int) -> Tensor:
    """Return pictures of the source captions, (n, 3, h, w) in [0, 1], made from noise alone.

    The noise is not that of any edit: an edit that began with the noise of its own source would be given it back.
    """
    side = cases[0].source.width
    return base.edit_batch(
        torch.zeros(len(cases), 3, side, side),
        [case.source_caption for case in cases],
        masks=None,
        sampling=sampling,
        seed=seed,
        keys=[f"source {case.key}/{attempt}" for case in cases],
        from_noise=True,
    )


if __name__ == "__main__":
    run(generated)
