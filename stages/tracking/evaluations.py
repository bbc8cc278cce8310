"""A version's scores on every case of an evaluation set, kept with its model; the gate compares versions by them."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import mlflow
import numpy as np
from mlflow.tracking import MlflowClient

from stages.core.files import read_json, write_json
from stages.metrics.intervals import Values
from stages.tracking.gate import FAILED, LABELS

FOLDER = "evaluations"  # a folder of the logged model, with one file per evaluation set

KEPT = (*LABELS, FAILED)  # of the scores of a case
Scores = Mapping[str, Values]  # metric, or FAILED → (n,) scores, one for each case; NaN where undefined


def save_scores(client: MlflowClient, model_id: str, evaluation_set: str, keys: Sequence[str], scores: Scores) -> None:
    """Keep the scores of a version with its model.

    Args:
        client: a client of the store.
        model_id: the id of the version's logged model.
        evaluation_set: a digest of the cases and everything else that decides a score.
        keys: the keys of the n cases.
        scores: at least what the gate compares.
    """
    values = {name: [None if np.isnan(value) else float(value) for value in scores[name]] for name in KEPT}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{evaluation_set}.json")
        write_json(path, {"cases": list(keys), "scores": values})
        client.log_model_artifact(model_id, str(path), FOLDER)


def load_scores(client: MlflowClient, model_id: str, evaluation_set: str, keys: Sequence[str]) -> Scores | None:
    """Return the scores of a version on an evaluation set, or None if they were not kept.

    A file that is damaged or that a kill cut short counts as missing. So does one with other cases than ``keys``, because
    scores are compared case by case.
    """
    name = f"{FOLDER}/{evaluation_set}.json"
    if not any(item.path == name for item in client.list_logged_model_artifacts(model_id, FOLDER)):
        return None
    location = client.get_logged_model(model_id).artifact_location
    with tempfile.TemporaryDirectory() as folder:
        path = mlflow.artifacts.download_artifacts(f"{location}/{name}", dst_path=folder)
        try:
            kept = read_json(Path(path))
            if kept["cases"] != list(keys):
                return None
            return {name: np.array([np.nan if value is None else value for value in kept["scores"][name]]) for name in KEPT}
        except (ValueError, LookupError, TypeError):
            return None
