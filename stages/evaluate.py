"""Stage evaluate: compare the trained editor with its competitors on held-out edits, report it, register it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.comparison.cases import Case, read_cases
from stages.comparison.edits import Edits, edit_cases
from stages.comparison.scoring import score_edits
from stages.comparison.standard import current_standard
from stages.comparison.summary import summarise_comparison
from stages.comparison.systems import SYSTEMS, Models, System, chosen_systems, load_models
from stages.comparison.timing import time_edits
from stages.core.params import Params
from stages.core.paths import EDITED, IEDIT, REPORTS
from stages.core.shards import list_shards
from stages.metrics.scores import SystemScores
from stages.models.clip import load_clip
from stages.models.hub import identity, locate
from stages.models.vgg import load_vgg
from stages.report.captions import NAMES
from stages.report.evaluation import Comparison, write_evaluation
from stages.report.story import read_story
from stages.tracking.errors import store_errors_in_one_line
from stages.tracking.promotion import consider
from stages.tracking.registry import NAME
from stages.tracking.runs import find_run
from stages.tracking.submission import keep_with_version, log_evaluation, log_seconds, register_evaluated


def evaluate(params: Params) -> None:
    """Write ``reports/latest``, register the model, and promote it if it is better than the champion.

    The registry's content decides nothing in the reports.

    Raises:
        InputError: a model, a case, or a file that the report shows is missing or damaged; all are read before any edit.
    """
    config = params.evaluate
    judge, vgg, models = load_clip(config.judge), load_vgg(config.vgg), load_models(params)
    shards = list_shards(Path(config.cases), ".tar")
    cases = read_cases(shards, params)
    samples = [case.sample for case in cases]
    story = read_story()
    systems = chosen_systems(models, params)
    edits = edit_cases(cases, systems, models.tuned, identity(config.segmenter), params, EDITED)
    scores = score_edits(samples, edits.pictures, judge, vgg, config.batch)
    metrics = summarise_comparison(params, models, shards, samples, edits, scores)
    comparison = Comparison(cases=samples, pictures=edits.pictures, scores=scores, metrics=metrics)
    write_evaluation(REPORTS, comparison, story, params)
    _submit(params, models, systems, cases, edits, scores, metrics)


def _submit(
    params: Params,
    models: Models,
    systems: Mapping[str, System],
    cases: Sequence[Case],
    edits: Edits,
    scores: Mapping[str, SystemScores],
    metrics: Mapping[str, Any],
) -> None:
    """Log the evaluation, register the model, and let it challenge the champion."""
    first = cases[0].sample
    with store_errors_in_one_line():
        trained_by = find_run(models.identities["tuned"])
        run_id = log_evaluation(trained_by, metrics, REPORTS, params)
        segmenter = locate(params.evaluate.segmenter)
        version = register_evaluated(IEDIT, segmenter, trained_by=trained_by, metrics=metrics, case=first)
        if edits.counts.done:
            compared = {name: systems[name] for name in SYSTEMS}
            log_seconds(time_edits(first, compared, models.tuned, params), NAMES, run_id)
        standard = current_standard(params)
        keep_with_version(version, standard, scores["iedit_m"].per_case, params)
        decision = consider(version, standard)
    edits.counts.report()
    print(f"  models:/{NAME}/{version.version}, {'champion' if decision.passes else 'not promoted'}: {decision.why}")
