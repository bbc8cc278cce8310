"""Registered models served by MLflow's own protocol.

``python -m stages.tracking.server FOLDER HOST PORT`` does that alone. It runs on the code that was registered with the model.
"""

import sys
from dataclasses import dataclass

import mlflow
import uvicorn
from mlflow.pyfunc import scoring_server

from stages.core.params import Sampling
from stages.editing.editor import Editor
from stages.tracking.guard import Guard


@dataclass(frozen=True, kw_only=True)
class Served:
    """A registered model, loaded once."""

    editor: Editor
    sampling: Sampling  # how it edits unless a request says otherwise
    app: Guard  # MLflow's scoring server, behind the guard


def load_served(folder: str) -> Served:
    """Load the registered model in a folder."""
    model = mlflow.pyfunc.load_model(folder)
    loaded = model.unwrap_python_model()
    return Served(editor=loaded.editor, sampling=loaded.sampling, app=Guard(scoring_server.init(model)))


if __name__ == "__main__":
    model_folder, host, port = sys.argv[1:]
    uvicorn.run(load_served(model_folder).app, host=host, port=int(port))
