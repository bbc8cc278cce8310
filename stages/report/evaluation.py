"""The files that the stage evaluate writes: metrics.json, tables, claims, scores of every case, the page, a sample."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from torch import Tensor

from stages.comparison.systems import SYSTEMS
from stages.core.errors import InputError, first_line
from stages.core.files import write_json
from stages.core.params import Params
from stages.core.paths import IEDIT_LOSSES, TRAINING_SET
from stages.core.shards import list_shards, read_counts
from stages.corpus.samples import EditSample, read_edits
from stages.metrics.scores import SystemScores
from stages.models.tensors import to_images
from stages.report.claims import CLAIMED, claim_rows, judge_claims, markdown_claims
from stages.report.page import SHEET_CASES, contact_sheet, save_picture, write_report
from stages.report.results import write_case_scores, write_tables, write_text

SHOWN_PAIRS = 8  # training pairs in the report
TITLE = "iEdit: localised text-guided image editing with weak supervision"
CREDITS = "Artwork of the embedded world: OpenMoji (openmoji.org), CC BY-SA 4.0."
PANELS = {
    "Losses of Eq 12, weighted": ["weighted/noise", "weighted/global_clip", "weighted/local_clip", "weighted/perceptual"],
    "Losses, raw": ["raw/noise", "raw/global_clip", "raw/local_clip", "raw/perceptual"],
    "Gradient norm": ["gradient_norm"],
}


@dataclass(frozen=True, kw_only=True)
class Story:
    """How the model came about, for the report."""

    losses: list[dict[str, float]]  # a row a step
    pairs: list[EditSample]  # the first of the training set
    dropped: dict[str, dict[str, int]]  # stage → reason → samples


def read_story() -> Story:
    """Read the losses of the training, the first training pairs, and what each stage dropped.

    Raises:
        InputError: one of them is missing or damaged.
    """
    try:
        with IEDIT_LOSSES.open(newline="", encoding="utf-8") as file:
            losses = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError, csv.Error) as error:  # TypeError: a line with too few or too many values
        raise InputError(f"{IEDIT_LOSSES}: missing or damaged: {first_line(error)}; run the stage train") from error
    lacking = {"step", *chain(*PANELS.values())}.difference(*losses[:1])
    if lacking:
        raise InputError(f"{IEDIT_LOSSES}: no {min(lacking)} of any step; run the stage train")
    pairs = (pair for shard in list_shards(TRAINING_SET, ".tar") for pair in read_edits(shard))
    return Story(
        losses=losses,
        pairs=list(islice(pairs, SHOWN_PAIRS)),
        dropped=read_counts(TRAINING_SET),
    )


def write_evaluation(
    folder: Path,
    *,
    cases: Sequence[EditSample],
    pictures: Mapping[str, Tensor],
    scores: Mapping[str, SystemScores],
    metrics: Mapping[str, Any],
    story: Story,
    params: Params,
) -> None:
    """Write the results of a comparison into ``folder`` and print the table.

    Args:
        folder: for metrics.json, the tables, claims.md, cases.csv, report.html, sheet.png and samples/.
        cases: n.
        pictures: system → its edits, (n, 3, h, w) in [0, 1].
        scores: system → its scores; besides SYSTEMS those that the claims need.
        metrics: the value of metrics.json.
        story: how the model came about.
        params: the bootstrap, the seed, and the length of the gallery.
    """
    verdicts = judge_claims(scores, params.evaluate.bootstrap, params.seed)
    write_json(folder / "metrics.json", metrics)
    write_tables(folder, metrics)
    write_text(folder / "claims.md", markdown_claims(verdicts, CLAIMED, metrics["cases"]))
    write_case_scores(folder / "cases.csv", [case.key for case in cases], {system: scores[system] for system in SYSTEMS})
    gallery = params.evaluate.gallery
    write_report(
        folder / "report.html",
        title=TITLE,
        metrics=metrics,
        cases=cases[:gallery],
        edits=_first(pictures, gallery),
        losses=story.losses,
        panels=_panels_of(story.losses),
        dropped=story.dropped,
        pairs=story.pairs,
        credits_line=CREDITS,
        claims=claim_rows(verdicts, CLAIMED),
    )
    save_picture(folder / "sheet.png", contact_sheet(cases[:SHEET_CASES], _first(pictures, SHEET_CASES)))
    _write_sample(folder / "samples", cases[0])


def _first(pictures: Mapping[str, Tensor], count: int) -> dict[str, Any]:
    return {system: to_images(pictures[system][:count]) for system in SYSTEMS}


def _panels_of(losses: Sequence[Mapping[str, float]]) -> dict[str, list[str]]:
    """Return PANELS without the terms that were off, which are zero in every step."""
    panels = {title: [name for name in names if any(row[name] for row in losses)] for title, names in PANELS.items()}
    return {title: names for title, names in panels.items() if names}


def _write_sample(folder: Path, case: EditSample) -> None:
    """Write a picture and a request to try the model on."""
    save_picture(folder / "source.png", case.source)
    request = {"prompt": case.edit_prompt, "term": case.target_diff, "source_term": case.source_diff}
    write_json(folder / "edit.json", request)
