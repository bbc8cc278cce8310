"""Stage evaluate: compare the trained editor with its competitors on held-out edits, report it, register it."""

import time
from collections.abc import Mapping

from stages.comparison.cases import CaseSet, read_cases
from stages.comparison.edits import edit_cases
from stages.comparison.scoring import score_edits
from stages.comparison.seal import Finished, inputs_digest, put_seal
from stages.comparison.standard import current_standard, scores_to_compare
from stages.comparison.summary import summarise_comparison
from stages.comparison.systems import SYSTEMS, chosen_systems, load_models
from stages.comparison.timing import time_edits
from stages.core.files import move_entries, remove
from stages.core.params import Params
from stages.core.paths import EDITED, IEDIT, NEW_REPORTS, REPORTS
from stages.models.clip import load_clip
from stages.models.hub import identity, locate
from stages.models.inception import load_inception
from stages.models.vgg import load_vgg
from stages.report.captions import wording_of
from stages.report.card import model_card
from stages.report.evaluation import Comparison, write_evaluation
from stages.report.story import read_story
from stages.tracking.errors import store_errors_in_one_line
from stages.tracking.promotion import consider
from stages.tracking.registry import NAME, Registered
from stages.tracking.runs import find_run
from stages.tracking.submission import keep_with_version, log_evaluation, log_seconds, register_evaluated


def evaluate(params: Params) -> None:
    """Write ``reports/latest``, register the model, and promote it if it is better than the champion.

    The registry's content decides nothing in the reports.

    Raises:
        InputError: a model, a case, or a file that the report shows is missing or damaged; all are read before any edit.
    """
    config, began = params.evaluate, time.monotonic()
    judge, vgg, models = load_clip(config.judge), load_vgg(config.vgg), load_models(params)
    inception = load_inception(config.inception) if config.inception else None
    cases = read_cases(params)
    samples = cases.samples
    story = read_story()
    inputs = inputs_digest(params)
    systems = chosen_systems(models, params)
    edits = edit_cases(cases.cases, systems, models.tuned, identity(config.segmenter), params, EDITED)
    models.bring(None)  # the judge needs their room
    scores = score_edits(samples, edits.made, judge, vgg, config.batch, inception)
    metrics = summarise_comparison(params, models, cases, edits, scores)
    comparison = Comparison(cases=samples, pictures=edits.pictures, scores=scores, metrics=metrics)
    remove(NEW_REPORTS)
    claims = write_evaluation(NEW_REPORTS, comparison, story, params)
    card = model_card(params, metrics, claims)  # before the version is registered, which would be left without a record
    seconds = None
    if edits.counts.done:
        seconds = time_edits(samples[0], {name: systems[name] for name in SYSTEMS}, models.tuned, params)
        models.bring(None)  # and so does the champion, if it is judged anew
    version = _register(params, comparison, models.identities["tuned"], seconds)
    move_entries(NEW_REPORTS, REPORTS)  # when the registry has them too, and before the version's record, which names them
    outcome = _judge(params, cases, comparison, version, card)
    edits.counts.seconds = time.monotonic() - began
    edits.counts.report()
    print(f"  {outcome}")
    put_seal(inputs, Finished(edits=edits.counts.done + edits.counts.reused, outcome=outcome))


def _register(params: Params, comparison: Comparison, digest: str, seconds: Mapping[str, float] | None) -> Registered:
    """Log an evaluation, register the model, and return its version.

    Args:
        params: all of params.yaml.
        comparison: what was written to NEW_REPORTS.
        digest: the identity of the trained model.
        seconds: system → seconds per edit, if edits were made in this run.
    """
    with store_errors_in_one_line():
        trained_by = find_run(digest)
        run_id = log_evaluation(trained_by, comparison.metrics, NEW_REPORTS, params)
        version = register_evaluated(
            IEDIT,
            locate(params.evaluate.segmenter),
            trained_by=trained_by,
            metrics=comparison.metrics,
            case=comparison.cases[0],
        )
        if seconds is not None:
            log_seconds(seconds, wording_of(comparison.metrics).names, run_id)
    return version


def _judge(params: Params, cases: CaseSet, comparison: Comparison, version: Registered, card: str) -> str:
    """Keep the record of a version with it, and let it challenge the champion; return the outcome in one line."""
    with store_errors_in_one_line():
        standard = current_standard(params, cases)
        keep_with_version(version, standard, scores_to_compare(comparison.scores["iedit_m"]), params, card)
        decision = consider(version, standard)
    return f"models:/{NAME}/{version.version}, {'champion' if decision.passes else 'not promoted'}: {decision.why}"
