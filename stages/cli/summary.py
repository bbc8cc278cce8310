"""``iedit summary``: what the last run on this machine made."""

import argparse
import shlex
from typing import TYPE_CHECKING

from stages.core.errors import InputError
from stages.core.files import read_json
from stages.core.paths import METRICS_FILE, REFERENCE, REPORTS

if TYPE_CHECKING:
    from stages.tracking.registry import Registered

TABLE, REPORT = REPORTS / "table.md", REPORTS / "report.html"
REFERENCE_METRICS = REFERENCE / METRICS_FILE.name
SAMPLE, SAMPLE_EDIT = REPORTS / "samples" / "source.png", REPORTS / "samples" / "edit.json"


def summary(_: argparse.Namespace) -> None:
    """Print the table of results, how they compare with the reference, the registered model, and a command to try.

    Raises:
        InputError: the pipeline has not run here, or a file of the report is damaged.
    """
    if not METRICS_FILE.is_file():
        raise InputError(f"{METRICS_FILE}: no such file; run the pipeline from the folder of the project first")

    from stages.cli.agreement import read_metrics
    from stages.report.captions import wording_of
    from stages.report.formats import summary_table

    metrics = read_metrics(METRICS_FILE)
    print(summary_table(metrics, wording_of(metrics).names))
    print(f"\ntables    {TABLE} and others beside it")
    print(f"report    {REPORT}")
    _print_agreement()

    from stages.tracking.errors import store_errors_in_one_line
    from stages.tracking.registry import latest_version

    with store_errors_in_one_line():
        newest = latest_version()
    if newest is None:
        print("model     none is registered")
        return
    print(f"model     models:/iedit/{newest.version}, {'the' if newest.is_champion else 'not the'} champion")
    _print_example(newest)


def _print_agreement() -> None:
    """Print how the last run compares with the committed reference, if both exist."""
    if not (METRICS_FILE.is_file() and REFERENCE_METRICS.is_file()):
        return

    from stages.cli.agreement import are_comparable, compare_scores, read_metrics

    reference, found = read_metrics(REFERENCE_METRICS), read_metrics(METRICS_FILE)
    if not are_comparable(reference, found):
        print("compared  not with the committed reference: other systems, cases or models")
        return
    if found == reference:
        print("compared  identical to the committed reference")
        return
    agreement = compare_scores(reference, found)
    verdict = "equal within tolerance to" if agreement.is_tolerable else "differs from"
    print(f"compared  {verdict} the committed reference: {agreement}")


def _print_example(version: "Registered") -> None:
    """Print a command that edits the sample picture with a version."""
    if not (SAMPLE.is_file() and SAMPLE_EDIT.is_file()):
        return
    try:
        sample = {name: str(read_json(SAMPLE_EDIT)[name]) for name in ("prompt", "term", "source_term")}
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{SAMPLE_EDIT}: damaged; run the stage evaluate again") from error
    terms = ["--term", sample["term"], "--source-term", sample["source_term"]]
    model = [] if version.is_champion else ["--model", f"models:/iedit/{version.version}"]
    print(f"try       {shlex.join(['.venv/bin/iedit', 'edit', str(SAMPLE), sample['prompt'], *terms, *model])}")
