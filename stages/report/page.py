"""The report page: one HTML file that loads nothing from anywhere."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from stages.core.files import write_text
from stages.corpus.samples import EditSample
from stages.report.captions import DRAFT, EDIT_SUCCESS, JUDGE, TRUE_MASKS, Wording, failed_edits, too_few
from stages.report.claims import RULE, ClaimTable
from stages.report.contact_sheet import check_edits
from stages.report.pictures import data_uri, overlay
from stages.report.plots import plot_losses
from stages.report.rendering import render
from stages.report.results import difference_rows, heading, measured, result_rows


def write_report(
    path: Path,
    *,
    title: str,
    metrics: Mapping[str, Any],
    cases: Sequence[EditSample],
    edits: Mapping[str, Sequence[Image.Image]],
    wording: Wording = TRUE_MASKS,
    losses: Sequence[Mapping[str, float]] = (),
    panels: Mapping[str, Sequence[str]] | None = None,
    dropped: Mapping[str, Mapping[str, int]] | None = None,
    pairs: Sequence[EditSample] = (),
    credits_line: str = "",
    claims: Sequence[ClaimTable] = (),
) -> None:
    """Write the page. It holds no date and nothing random: equal input gives equal bytes.

    Args:
        path: the HTML file.
        title: heading of the page.
        metrics: the content of metrics.json.
        cases: the gallery, in this order; pass the first cases, not the best ones.
        edits: system → its edits, one for each case.
        wording: what systems and masks are called.
        losses: rows of the training log, each with "step"; a missing or undefined loss leaves a gap.
        panels: title of a plot → the columns of ``losses`` in it.
        dropped: stage → reason → number of dropped samples.
        pairs: training pairs to show.
        credits_line: who made the pictures, if their licence asks for it.
        claims: tables of claims.

    Raises:
        InputError: a system has more or fewer edits than there are cases, or the log lacks a column of a panel.
    """
    names = wording.names
    check_edits(cases, edits, names)
    page = render(
        "report.html",
        columns=len(names) + 2,
        title=title,
        cases=metrics["cases"],
        names=list(names.values()),
        mask=wording.mask,
        note=wording.note.replace("`", ""),
        few=too_few(metrics["cases"]),
        failed=failed_edits(metrics, names),
        terms=(JUDGE, EDIT_SUCCESS, DRAFT.replace("`", "")),
        definitions=[(heading(metric), metric.definition) for metric in measured(metrics)],
        rows=result_rows(metrics, names),
        differences=difference_rows(metrics, names),
        claims=claims,
        rule=RULE,
        models=metrics["models"],
        plots=[(name, plot_losses(losses, name, columns)) for name, columns in (panels or {}).items()],
        gallery=[_row(case, [edits[system][index] for system in names]) for index, case in enumerate(cases)],
        dropped=dropped or {},
        pairs=[_row(pair, [pair.target, overlay(pair.target, pair.target_mask)]) for pair in pairs],
        credits_line=credits_line,
    )
    write_text(path, page)


def _row(sample: EditSample, pictures: Sequence[Image.Image]) -> dict[str, Any]:
    """Return a row of the page for a case or a pair: its texts, its source with and without mask, and ``pictures``."""
    return {
        "key": sample.key,
        "caption": sample.source_caption,
        "prompt": sample.edit_prompt,
        "pictures": [data_uri(x) for x in (sample.source, overlay(sample.source, sample.source_mask), *pictures)],
    }
