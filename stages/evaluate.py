"""Stage evaluate: compare the trained editor with the base model on held-out edits, report it, register it."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from stages import comparison
from stages.comparison import Case, System, edit_cases
from stages.corpus.samples import EditSample, read_edits
from stages.editor import Editor, EditRequest
from stages.errors import InputError, first_line
from stages.files import file_digest, folder_digest, value_digest, write_json, written_aside
from stages.metrics import scores as scoring
from stages.metrics.scores import Cases, SystemScores, score_system, summarise
from stages.models import (
    Clip,
    Vgg,
    identity,
    known_identity,
    load_clip,
    load_diffusion,
    load_segmenter,
    load_vgg,
    locate,
    mask_to_tensor,
    to_images,
    to_tensor,
)
from stages.params import PARAMS_FILE, Evaluate, ModelName, Params, named_models
from stages.provenance import source_digest
from stages.report.page import contact_sheet, write_report
from stages.report.tables import write_case_scores, write_tables
from stages.shards import count_dropped, list_shards
from stages.tracking.evaluations import Scores, save_scores
from stages.tracking.failures import failures_told
from stages.tracking.gate import Decision
from stages.tracking.promotion import Standard, consider
from stages.tracking.record import save_record
from stages.tracking.registry import NAME, Registered, find_version, load_editor, register
from stages.tracking.store import connect
from stages.tracking.training_run import find_run, log_results, run_of_results

MODEL = Path("models/iedit")
LOSSES = Path("models/losses.csv")
TRAINING = Path("data/training")
REPORTS = Path("reports")
EDITED = Path("data/evaluated")  # the edits, batch by batch: made anew when missing, no out of DVC
REGISTERED = Path("data/registered")  # those of a registered version that is evaluated again
WRITTEN = {
    "ingest": Path("data/corpus"),
    "caption": Path("data/captions"),
    "mutate": Path("data/edits"),
    "retrieve": Path("data/pairs"),
    "segment": TRAINING,
}
BASELINE = "sdedit"
SHOWN_PAIRS = 8  # training pairs in the report
SHEET_CASES = 8  # cases on the contact sheet
CREDITS = "Artwork of the embedded world: OpenMoji (openmoji.org), CC BY-SA 4.0."
PANELS = {
    "Losses of Eq 12, weighted": ["weighted/noise", "weighted/global_clip", "weighted/local_clip", "weighted/perceptual"],
    "Losses, raw": ["raw/noise", "raw/global_clip", "raw/local_clip", "raw/perceptual"],
    "Gradient norm": ["gradient_norm"],
}


def evaluate(params: Params) -> None:
    """Write ``reports``: metrics.json, tables, plots, the page; register the model, promote it if it is better.

    What the registry holds decides nothing of ``reports``.
    """
    config = params.evaluate
    judge, vgg, segmenter = load_clip(config.judge), load_vgg(config.vgg), load_segmenter(config.segmenter)
    base, tuned = Editor(load_diffusion(config.base)), Editor(load_diffusion(ModelName(name=str(MODEL))), segmenter)
    models = {
        "judge": {"name": config.judge.name, "identity": identity(config.judge)},
        "vgg": {"name": config.vgg.name, "identity": identity(config.vgg)},
        "base": {"name": config.base.name, "identity": identity(config.base)},
        "segmenter": {"name": config.segmenter.name, "identity": identity(config.segmenter)},
        "iedit": {"name": str(MODEL), "identity": folder_digest(MODEL)},
    }
    shards = list_shards(Path(config.cases), ".tar")
    asked = _read_cases(shards, config)
    story = _read_story()
    systems = {
        BASELINE: System(editor=base, identity=models["base"]["identity"], is_masked=False),
        "iedit": System(editor=tuned, identity=models["iedit"]["identity"], is_masked=False),
        "iedit_m": System(editor=tuned, identity=models["iedit"]["identity"], is_masked=True),
    }
    made = edit_cases(asked, systems, tuned, models["segmenter"]["identity"], params, EDITED)
    cases = [case.sample for case in asked]
    scores = _score_all(cases, made.pictures, judge, vgg, config.batch)
    metrics = summarise(scores, resamples=config.bootstrap, seed=params.seed, models=models, baseline=BASELINE)
    metrics["cases_digest"] = value_digest([file_digest(shard) for shard in shards])
    metrics["predicted_masks"] = _mask_quality(cases, made.masks)
    write_json(REPORTS / "metrics.json", metrics)
    write_tables(REPORTS, metrics)
    write_case_scores(REPORTS / "cases.csv", [case.key for case in cases], scores)
    _write_pictures(cases, made.pictures, metrics, story, config)
    with failures_told():
        registered = _register(params, cases[0], metrics)
        standard = _standard(params)
        client = connect()
        save_scores(client, registered.model_id, standard.evaluation_set, standard.cases, scores["iedit_m"].per_case)
        save_record(client, registered.model_id, params, _weights(params))
        decision = consider(registered, standard)
    made.counts.report()
    print(f"  models:/{NAME}/{registered.version}, {'champion' if decision.passes else 'challenger'}: {decision.why}")


def _weights(params: Params) -> dict[str, dict[str, str | None]]:
    return {
        model.key: {"name": model.name, "revision": model.revision, "identity": known_identity(model)}
        for model in named_models(params)
    }


def promote_version(params: Params, uri: str) -> tuple[Registered, Decision]:
    """Do by hand what the stage does for the model that it registers: make a version champion if it is better.

    Args:
        params: name the evaluation set, and how it is decided.
        uri: ``models:/iedit@ALIAS``, ``models:/iedit/VERSION``, or a number alone.
    """
    version = find_version(uri)
    return version, consider(version, _standard(params), by_hand=True)


def _standard(params: Params) -> Standard:
    """Return what versions are compared by: the current cases, judge and code. Each samples its edits as it is served."""
    config = params.evaluate
    shards = list_shards(Path(config.cases), ".tar")
    asked = _read_cases(shards, config)
    keys = [case.sample.key for case in asked]
    decisive = {
        "shards": [file_digest(shard) for shard in shards],
        "cases": keys,
        "judge": identity(config.judge),
        "seed": params.seed,
        "code": [source_digest(comparison.__file__), source_digest(scoring.__file__)],
    }
    return Standard(
        evaluation_set=value_digest(decisive),
        cases=keys,
        score=partial(_score_version, params, asked),
        gate=config.gate,
        resamples=config.bootstrap,
        seed=params.seed,
    )


def _score_version(params: Params, asked: Sequence[Case], version: Registered) -> Scores:
    """Return the scores of a registered version's edits with predicted masks, made and scored as those of ``iedit_m``."""
    editor, sampling = load_editor(f"models:/{NAME}/{version.version}")
    system = System(editor=editor, identity=version.digest, is_masked=True)
    as_served = params.model_copy(update={"sampling": sampling})
    made = edit_cases(asked, {"edits": system}, editor, version.digest, as_served, REGISTERED)
    judge, vgg = load_clip(params.evaluate.judge), load_vgg(params.evaluate.vgg)
    return _score_all([case.sample for case in asked], made.pictures, judge, vgg, params.evaluate.batch)["edits"].per_case


def _read_cases(shards: Sequence[Path], config: Evaluate) -> list[Case]:
    found = (Case(shard=shard, sample=sample) for shard in shards for sample in read_edits(shard))
    cases = list(islice(found, config.max_cases))
    if not cases:
        raise InputError(f"evaluate.cases = {config.cases!r}: holds no case; raise retrieve.held_out, or name another folder")
    for case in cases:
        if not isinstance(case.sample.metadata.get("relation"), str):
            raise InputError(f"{case.shard}: sample {case.sample.key}: metadata has no relation")
    return cases


@dataclass(frozen=True, kw_only=True)
class Story:
    """What the report tells besides the results: how the model came about."""

    losses: list[dict[str, float]]
    pairs: list[EditSample]
    dropped: dict[str, dict[str, int]]  # stage → reason → samples


def _read_story() -> Story:
    try:
        with LOSSES.open(newline="", encoding="utf-8") as file:
            losses = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError, csv.Error) as error:  # TypeError: a line with too few or too many values
        raise InputError(f"{LOSSES}: missing or damaged: {first_line(error)}; run the stage train") from error
    lacking = {"step", *chain(*PANELS.values())}.difference(*losses[:1])
    if lacking:
        raise InputError(f"{LOSSES}: no {min(lacking)} of any step; run the stage train")
    return Story(
        losses=losses,
        pairs=list(islice((pair for shard in list_shards(TRAINING, ".tar") for pair in read_edits(shard)), SHOWN_PAIRS)),
        dropped={stage: count_dropped(folder) for stage, folder in WRITTEN.items()},
    )


def _score_all(
    cases: Sequence[EditSample], edits: Mapping[str, Tensor], judge: Clip, vgg: Vgg, batch: int
) -> dict[str, SystemScores]:
    """Score every system; what an edit could have become are the terms of all cases of its kind."""
    terms: dict[str, set[str]] = {}
    for case in cases:
        terms.setdefault(case.metadata["relation"], set()).update((case.source_diff, case.target_diff))
    asked = Cases(
        sources=to_tensor([case.source for case in cases]),
        masks=mask_to_tensor([case.source_mask for case in cases]),
        captions=[case.source_caption for case in cases],
        prompts=[case.edit_prompt for case in cases],
        target_terms=[case.target_diff for case in cases],
        candidates=[sorted(terms[case.metadata["relation"]]) for case in cases],
    )
    return {system: score_system(asked, edited.to(asked.sources), judge, vgg, batch=batch) for system, edited in edits.items()}


def _mask_quality(cases: Sequence[EditSample], masks: Tensor) -> dict[str, float]:
    """Return how well the predicted masks fit the true ones: mean intersection over union, how many are empty, both areas."""
    true = mask_to_tensor([case.source_mask for case in cases]).cpu() > 0.5
    found = masks > 0.5
    overlap = (true & found).flatten(1).sum(dim=1) / (true | found).flatten(1).sum(dim=1)
    return {
        "miou": overlap.mean().item(),
        "not_found": int((~found.flatten(1).any(dim=1)).sum()),
        "area": found.float().mean().item(),
        "true_area": true.float().mean().item(),
    }


def _write_pictures(
    cases: Sequence[EditSample], edits: Mapping[str, Tensor], metrics: Mapping[str, Any], story: Story, config: Evaluate
) -> None:
    """Write the report page, the contact sheet, and a sample to try the model on."""
    write_report(
        REPORTS / "report.html",
        title="iEdit: localised text-guided image editing with weak supervision",
        metrics=metrics,
        cases=cases[: config.gallery],
        edits={system: to_images(edited[: config.gallery]) for system, edited in edits.items()},
        losses=story.losses,
        panels=PANELS,
        dropped=story.dropped,
        pairs=story.pairs,
        credits_line=CREDITS,
    )
    first = {system: to_images(edited[:SHEET_CASES]) for system, edited in edits.items()}
    _save(REPORTS / "sheet.png", contact_sheet(cases[:SHEET_CASES], first))
    _save(REPORTS / "samples" / "source.png", cases[0].source)
    sample = {"prompt": cases[0].edit_prompt, "term": cases[0].target_diff, "source_term": cases[0].source_diff}
    write_json(REPORTS / "samples" / "edit.json", sample)


def _register(params: Params, case: EditSample, metrics: Mapping[str, Any]) -> Registered:
    """Log the evaluation to the run that trained the model, and register the model."""
    run_id = find_run(folder_digest(MODEL))
    rows = metrics["systems"].items()
    scores = {f"{system}/{name}": value for system, row in rows for name, value in row.items() if value is not None}
    run_of_these = run_of_results(run_id, params, PARAMS_FILE)
    if run_of_these is not None:
        log_results(run_of_these, scores, [REPORTS / "metrics.json", REPORTS / "report.html", REPORTS / "sheet.png"])
    return register(
        MODEL,
        locate(params.evaluate.segmenter),
        metrics={name: value for name, value in scores.items() if name.startswith("iedit_m/")},
        example=EditRequest(image=case.source, prompt=case.edit_prompt, term=case.target_diff, source_term=case.source_diff),
        run_id=run_id,
        tags={"iedit.cases_digest": metrics["cases_digest"]},
    )


def _save(path: Path, image: Image.Image) -> None:
    with written_aside(path) as temporary:
        image.save(temporary, "png")
