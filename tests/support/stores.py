"""Copies of an MLflow store within one process."""

from mlflow.tracking._tracking_service import utils


def forget_places() -> None:
    """Let MLflow forget where the artifacts of runs and models are: it remembers them by ids, which a copy shares."""
    utils._artifact_repos_cache.clear()
