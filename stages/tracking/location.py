"""Where the tracking store is: the project's own SQLite file, or the server that MLFLOW_TRACKING_URI names.

Nothing here imports MLflow, so that a missing store is reported at once.
"""

import os
from pathlib import Path

from stages.core.errors import InputError

DATABASE = Path("mlflow.db")  # in the project's folder, MLflow's own default
ARTIFACTS = Path("mlruns")  # beside it
SERVER_ARTIFACTS = Path(".servers/mlflow/artifacts")  # of the server that `make server` starts
EXPERIMENT = "iedit"
KIND, SHOWS_RUNS = "mlflow.experimentKind", "custom_model_development"
"""The tag by which an experiment says that it holds trainings, not traces of a language model.

The pages of MLflow 3.17 go by what was chosen in the browser instead, or in their address (docs/operations.md).
"""


def tracking_uri() -> str:
    """Return MLFLOW_TRACKING_URI or, without it, the address of the SQLite file in the project's folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or own_uri()


def own_uri() -> str:
    """Return the address of the SQLite file in the project's folder."""
    # Absolute: MLflow keeps one store per URI, whichever folder the process was in when it saw the URI first.
    return f"sqlite:///{project() / DATABASE}"


def project() -> Path:
    """Return the project's folder, also from the copies of it that DVC runs queued experiments in."""
    return Path(os.environ.get("DVC_ROOT", "")).absolute()


def check_store() -> None:
    """Raise InputError if the store is the project's own SQLite file, and there is none."""
    if tracking_uri() == own_uri() and not (project() / DATABASE).exists():
        raise InputError(
            f"{DATABASE}: no such file, so no model is registered here; run from the folder of a project in which the pipeline"
            " has run, or set MLFLOW_TRACKING_URI"
        )


def store_identity() -> tuple[str, int | None]:
    """Return the store's address and, if it is the project's own file, the file's inode; None if there is no file."""
    uri, database = tracking_uri(), project() / DATABASE
    return uri, database.stat().st_ino if uri == own_uri() and database.exists() else None


def dvc_experiment() -> str | None:
    """Return the name of the DVC experiment that this process belongs to, or None outside of one."""
    return os.environ.get("DVC_EXP_NAME") or None
