"""From an evaluation to the registry: log scores and times, register the model, keep the record of its making."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.core.files import write_json
from stages.core.params import Params
from stages.core.paths import DATASET_PAGE, LOGS
from stages.corpus.samples import EditSample
from stages.editing.request import EditRequest
from stages.models.hub import describe_models
from stages.tracking.card import save_card
from stages.tracking.evaluations import Scores, save_scores
from stages.tracking.last_store import note_store
from stages.tracking.promotion import Standard
from stages.tracking.record import save_record
from stages.tracking.registration import register
from stages.tracking.registry import CASES, Registered
from stages.tracking.runs import log_results, read_run, run_for_results
from stages.tracking.start import PREFIX
from stages.tracking.store import connect

SECONDS = LOGS / "seconds_per_edit.json"
SERVED = "iedit_m/"  # the system as which a registered version is served; the version gets its scores


def log_evaluation(trained_by: str | None, metrics: Mapping[str, Any], reports: Path, params: Params) -> str | None:
    """Log a model's scores and report to MLflow; return the run that they are logged to, or None if there is none.

    Args:
        trained_by: the run that trained the model, if the store has it.
        metrics: the value of metrics.json.
        reports: the folder of metrics.json, report.html and sheet.png; the page of the dataset is logged too, if it is there.
        params: all of params.yaml, logged if a DVC experiment that trained nothing gets a run of its own.
    """
    run_id = run_for_results(trained_by, params)
    if run_id is not None:
        pages = [reports / name for name in ("metrics.json", "report.html", "sheet.png")]
        log_results(run_id, _scores(metrics), [*pages, *filter(Path.is_file, [DATASET_PAGE])])
    return run_id


def register_evaluated(
    model: Path, segmenter: Path, *, trained_by: str | None, metrics: Mapping[str, Any], case: EditSample
) -> Registered:
    """Register an evaluated model as the result of its training run, or return the version that has the same files.

    Args:
        model: the folder that the train stage wrote.
        segmenter: the folder of CLIPSeg.
        trained_by: the run that trained the model, if the store has it.
        metrics: the value of metrics.json.
        case: the case that becomes the model's example request.
    """
    run = None if trained_by is None else read_run(connect(), trained_by)
    started = {} if run is None else {name: text for name, text in run.data.tags.items() if name.startswith(PREFIX)}
    return register(
        model,
        segmenter,
        metrics={name: value for name, value in _scores(metrics).items() if name.startswith(SERVED)},
        example=EditRequest(image=case.source, prompt=case.edit_prompt, term=case.target_diff, source_term=case.source_diff),
        run_id=trained_by,
        tags={CASES: metrics["cases_digest"], **started},
    )


def log_seconds(seconds: Mapping[str, float], names: Mapping[str, str], run_id: str | None) -> None:
    """Print, keep and log how long an edit takes. Times never repeat exactly, so they are not an output of the stage.

    Args:
        seconds: system → seconds per edit.
        names: system → its name in tables.
        run_id: the run to log to, if there is one.
    """
    write_json(SECONDS, dict(seconds))
    print("\nseconds per edit: " + ", ".join(f"{names[name]} {value:.2f}" for name, value in seconds.items()))
    if run_id is not None:
        log_results(run_id, {f"{name}/seconds_per_edit": value for name, value in seconds.items()})


def keep_with_version(version: Registered, standard: Standard, scores: Scores, params: Params, card: str) -> None:
    """Keep a version's scores on every case, its model card, and the record of its making, with the version."""
    client = connect()
    note_store(version.model_id)
    save_scores(client, version.model_id, standard.evaluation_set, standard.cases, scores)
    save_card(client, version, card)
    save_record(client, version, params, describe_models(params))


def _scores(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return "system/metric" → value for all defined values."""
    rows = metrics["systems"].items()
    return {f"{system}/{name}": value for system, row in rows for name, value in row.items() if value is not None}
