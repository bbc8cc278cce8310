"""Addresses of MLflow's web pages."""

import os
from urllib.parse import urlsplit

from stages.tracking.errors import without_credentials
from stages.tracking.location import tracking_uri
from stages.tracking.store import connect, experiment_id


def run_page(run_id: str) -> str | None:
    """Return the address of a run's page, or None if the store is not a server and so has no pages.

    IEDIT_MLFLOW_PAGES gives the server's address as a browser sees it, if the stages use another one.
    """
    server = os.environ.get("IEDIT_MLFLOW_PAGES") or without_credentials(tracking_uri())
    if urlsplit(server).scheme not in ("http", "https"):
        return None
    return f"{server.rstrip('/')}/#/experiments/{experiment_id(connect(create=False))}/runs/{run_id}"
