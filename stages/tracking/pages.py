"""Addresses of MLflow's own pages."""

import os
from urllib.parse import urlsplit

from stages.tracking.errors import without_credentials
from stages.tracking.store import connect, experiment_id, tracking_uri


def run_page(run_id: str) -> str | None:
    """Return the address of the page of a run, or None where the store is no server, so has no pages.

    IEDIT_MLFLOW_PAGES says where a browser finds the server, if that is not where the stages find it.
    """
    server = os.environ.get("IEDIT_MLFLOW_PAGES") or without_credentials(tracking_uri())
    if urlsplit(server).scheme not in ("http", "https"):
        return None
    return f"{server.rstrip('/')}/#/experiments/{experiment_id(connect(create=False))}/runs/{run_id}"
