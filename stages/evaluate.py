"""Stage evaluate: compare the trained editor with the base model on held-out edits, report it, register it."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from torch import Tensor

from stages.comparison import edits as comparison
from stages.comparison.cases import Case, read_cases
from stages.comparison.edits import edit_cases, time_edits
from stages.comparison.scoring import score_edits
from stages.comparison.systems import INSTRUCTED, MODEL, SYSTEMS, chosen_systems, edited_by, load_models
from stages.core.errors import InputError, first_line
from stages.core.files import file_digest, value_digest, write_json
from stages.core.params import Evaluate, Params, named_models
from stages.core.paths import LOGS
from stages.core.provenance import source_digest
from stages.core.shards import count_dropped, list_shards
from stages.corpus.samples import EditSample, read_edits
from stages.editing.editor import EditRequest
from stages.metrics import scores as scoring
from stages.metrics.scores import summarise
from stages.models.clip import load_clip
from stages.models.hub import identity, known_identity, locate
from stages.models.tensors import mask_to_tensor, to_images
from stages.models.vgg import load_vgg
from stages.report.claims import CLAIMED, claim_rows, judge_claims, markdown_claims
from stages.report.page import SHEET_CASES, contact_sheet, save_picture, write_report
from stages.report.results import NAMES, write_case_scores, write_tables, write_text
from stages.tracking.errors import store_errors_in_one_line
from stages.tracking.evaluations import Scores, save_scores
from stages.tracking.gate import Decision
from stages.tracking.promotion import Standard, consider
from stages.tracking.record import save_record
from stages.tracking.registration import register
from stages.tracking.registry import CASES, NAME, Registered, find_version, load_editor
from stages.tracking.runs import find_run, log_results, run_for_results
from stages.tracking.store import connect

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
SHOWN_PAIRS = 8  # training pairs in the report
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
    judge, vgg = load_clip(config.judge), load_vgg(config.vgg)
    compared = load_models(params)
    models = {
        "judge": {"name": config.judge.name, "identity": identity(config.judge)},
        "vgg": {"name": config.vgg.name, "identity": identity(config.vgg)},
        "base": {"name": config.base.name, "identity": compared.identities["base"]},
        "segmenter": {"name": config.segmenter.name, "identity": identity(config.segmenter)},
        "instruct_pix2pix": {"name": str(INSTRUCTED), "identity": compared.identities["instructed"]},
        "iedit": {"name": str(MODEL), "identity": compared.identities["tuned"]},
    }
    shards = list_shards(Path(config.cases), ".tar")
    asked = read_cases(shards, params)
    story = _read_story()
    systems = chosen_systems(compared, params)
    made = edit_cases(asked, systems, compared.tuned, models["segmenter"]["identity"], params, EDITED)
    cases = [case.sample for case in asked]
    every = score_edits(cases, made.pictures, judge, vgg, config.batch)
    scores = {system: every[system] for system in SYSTEMS}
    metrics = summarise(scores, resamples=config.bootstrap, seed=params.seed, models=models)
    verdicts = judge_claims(every, config.bootstrap, params.seed)
    metrics["cases_digest"] = value_digest([file_digest(shard) for shard in shards])
    metrics["predicted_masks"] = _mask_quality(cases, made.masks)
    write_json(REPORTS / "metrics.json", metrics)
    write_tables(REPORTS, metrics)
    write_text(REPORTS / "claims.md", markdown_claims(verdicts, CLAIMED, metrics["cases"]))
    write_case_scores(REPORTS / "cases.csv", [case.key for case in cases], scores)
    pictures = {system: made.pictures[system] for system in SYSTEMS}
    _write_pictures(cases, pictures, metrics, claim_rows(verdicts, CLAIMED), story, config)
    with store_errors_in_one_line():
        trained_by = find_run(compared.identities["tuned"])
        run_id = run_for_results(trained_by, params)
        registered = _register(params, cases[0], metrics, trained_by, run_id)
        if made.counts.done:
            _tell_times(time_edits(asked, {name: systems[name] for name in SYSTEMS}, compared.tuned, params), run_id)
        standard = _standard(params)
        client = connect()
        save_scores(client, registered.model_id, standard.evaluation_set, standard.cases, scores["iedit_m"].per_case)
        save_record(client, registered.model_id, params, _weights(params))
        decision = consider(registered, standard)
    made.counts.report()
    print(f"  models:/{NAME}/{registered.version}, {'champion' if decision.passes else 'not promoted'}: {decision.why}")


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
    asked = read_cases(shards, params)
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
    system = edited_by(editor, version.digest, sampling, masks="predicted")
    as_served = params.model_copy(update={"sampling": sampling})
    made = edit_cases(asked, {"edits": system}, editor, version.digest, as_served, REGISTERED)
    judge, vgg = load_clip(params.evaluate.judge), load_vgg(params.evaluate.vgg)
    return score_edits([case.sample for case in asked], made.pictures, judge, vgg, params.evaluate.batch)["edits"].per_case


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


def _panels_of(losses: Sequence[Mapping[str, float]]) -> dict[str, list[str]]:
    """Return the panels of PANELS with the terms that were on: one that is off is zero in every step."""
    panels = {title: [name for name in names if any(row[name] for row in losses)] for title, names in PANELS.items()}
    return {title: names for title, names in panels.items() if names}


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
    cases: Sequence[EditSample],
    edits: Mapping[str, Tensor],
    metrics: Mapping[str, Any],
    claims: Sequence[tuple[str, str, str, str]],
    story: Story,
    config: Evaluate,
) -> None:
    """Write the report page, the contact sheet, and a sample to try the model on."""
    write_report(
        REPORTS / "report.html",
        title="iEdit: localised text-guided image editing with weak supervision",
        metrics=metrics,
        cases=cases[: config.gallery],
        edits={system: to_images(edited[: config.gallery]) for system, edited in edits.items()},
        losses=story.losses,
        panels=_panels_of(story.losses),
        dropped=story.dropped,
        pairs=story.pairs,
        credits_line=CREDITS,
        claims=claims,
    )
    first = {system: to_images(edited[:SHEET_CASES]) for system, edited in edits.items()}
    save_picture(REPORTS / "sheet.png", contact_sheet(cases[:SHEET_CASES], first))
    save_picture(REPORTS / "samples" / "source.png", cases[0].source)
    sample = {"prompt": cases[0].edit_prompt, "term": cases[0].target_diff, "source_term": cases[0].source_diff}
    write_json(REPORTS / "samples" / "edit.json", sample)


def _register(
    params: Params, case: EditSample, metrics: Mapping[str, Any], trained_by: str | None, run_id: str | None
) -> Registered:
    """Log the evaluation to ``run_id``, and register the model as that of the run that trained it."""
    rows = metrics["systems"].items()
    scores = {f"{system}/{name}": value for system, row in rows for name, value in row.items() if value is not None}
    if run_id is not None:
        log_results(run_id, scores, [REPORTS / "metrics.json", REPORTS / "report.html", REPORTS / "sheet.png"])
    return register(
        MODEL,
        locate(params.evaluate.segmenter),
        metrics={name: value for name, value in scores.items() if name.startswith("iedit_m/")},
        example=EditRequest(image=case.source, prompt=case.edit_prompt, term=case.target_diff, source_term=case.source_diff),
        run_id=trained_by,
        tags={CASES: metrics["cases_digest"]},
    )


def _tell_times(seconds: Mapping[str, float], run_id: str | None) -> None:
    """Print, keep and log how long an edit takes; no out of the stage may hold it, for it is never twice the same."""
    write_json(LOGS / "seconds_per_edit.json", dict(seconds))
    print("\nseconds per edit: " + ", ".join(f"{NAMES[name]} {seconds[name]:.2f}" for name in SYSTEMS))
    if run_id is not None:
        log_results(run_id, {f"{name}/seconds_per_edit": seconds[name] for name in SYSTEMS})
