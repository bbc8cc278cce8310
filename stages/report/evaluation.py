"""Write the files of a comparison: those of every comparison, and those of the stage evaluate alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from stages.comparison.systems import SYSTEMS
from stages.core.files import write_json, write_text
from stages.core.params import Params
from stages.core.params_ingest import OpenMojiSource
from stages.corpus.samples import EditSample
from stages.metrics.scores import SystemScores
from stages.models.tensors import to_images
from stages.report.captions import CREDITS, Wording, failed_edits, wording_of
from stages.report.claims import ClaimTable, claim_tables, claims_page, judge_claims
from stages.report.contact_sheet import SHEET_CASES, contact_sheet
from stages.report.formats import write_case_scores, write_scores, write_tables
from stages.report.page import write_report
from stages.report.pictures import save_picture
from stages.report.plots import plot_losses
from stages.report.story import WEIGHTED, Story

TITLE = "iEdit: localised text-guided image editing with weak supervision"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What the systems made of n cases, and how it scored."""

    cases: Sequence[EditSample]
    pictures: Mapping[str, Tensor]  # system → its edits, (n, 3, h, w) in [0, 1]
    scores: Mapping[str, SystemScores]  # SYSTEMS and the systems that the claims need besides
    metrics: Mapping[str, Any]  # the content of metrics.json, which holds SYSTEMS

    def first_edits(self, count: int) -> dict[str, list[Image.Image]]:
        """Return the edits of the first ``count`` cases: system of SYSTEMS → pictures."""
        return {system: to_images(self.pictures[system][:count]) for system in SYSTEMS}


def write_comparison(
    folder: Path,
    comparison: Comparison,
    params: Params,
    wording: Wording,
) -> list[ClaimTable]:
    """Write what every comparison reports, and print the table.

    Args:
        folder: gets metrics.json, the tables, claims.md and sheet.png.
        comparison: the systems' edits and scores.
        params: the bootstrap and the seed.
        wording: what systems and masks are called.

    Returns:
        The claims.
    """
    metrics, names, note = comparison.metrics, wording.names, wording.note
    claims = claim_tables(judge_claims(comparison.scores, params.evaluate.bootstrap, params.seed), names)
    write_json(folder / "metrics.json", metrics)
    write_tables(folder, metrics, names, note)
    notes = " ".join(filter(None, (failed_edits(metrics, names), note)))
    write_text(folder / "claims.md", claims_page(claims, metrics["cases"], notes))
    sheet = contact_sheet(comparison.cases[:SHEET_CASES], comparison.first_edits(SHEET_CASES), names, mask=wording.mask)
    save_picture(folder / "sheet.png", sheet)
    return claims


def write_evaluation(folder: Path, comparison: Comparison, story: Story, params: Params) -> list[ClaimTable]:
    """Write the results of the stage evaluate, print the table, and return the claims.

    Args:
        folder: gets the files of ``write_comparison``, scores/, cases.csv, report.html, losses.svg and
            samples/.
        comparison: the systems' edits and scores.
        story: how the model was made.
        params: the bootstrap, the seed, and the length of the gallery.
    """
    cases, gallery = comparison.cases, params.evaluate.gallery
    wording = wording_of(comparison.metrics)
    claims = write_comparison(folder, comparison, params, wording)
    write_scores(folder / "scores", comparison.metrics)
    shown = {system: comparison.scores[system] for system in SYSTEMS}
    write_case_scores(folder / "cases.csv", [case.key for case in cases], shown)
    write_report(
        folder / "report.html",
        title=TITLE,
        metrics=comparison.metrics,
        wording=wording,
        cases=cases[:gallery],
        edits=comparison.first_edits(gallery),
        losses=story.losses,
        panels=story.panels(),
        dropped=story.dropped,
        pairs=story.pairs,
        credits_line=CREDITS if isinstance(params.ingest.source, OpenMojiSource) else "",
        claims=claims,
    )
    write_text(folder / "losses.svg", plot_losses(story.losses, WEIGHTED, [*story.panels().get(WEIGHTED, []), "total"]))
    _write_sample(folder / "samples", cases[0])
    return claims


def _write_sample(folder: Path, case: EditSample) -> None:
    """Write a picture and a request to try the model on."""
    save_picture(folder / "source.png", case.source)
    request = {"prompt": case.edit_prompt, "term": case.target_diff, "source_term": case.source_diff}
    write_json(folder / "edit.json", request)
