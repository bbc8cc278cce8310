"""``python -m stages.tracking.server FOLDER HOST PORT``: serve a registered model over REST.

It runs on the code that was registered with the model; :mod:`stages.cli.serve` starts it so.
"""

import sys

import mlflow
import uvicorn
from mlflow.pyfunc import scoring_server

from stages.tracking.guard import Guard


def make_app(folder: str) -> Guard:
    """Return MLflow's scoring server for the model in a folder, behind the guard."""
    return Guard(scoring_server.init(mlflow.pyfunc.load_model(folder)))


if __name__ == "__main__":
    model, host, port = sys.argv[1:]
    uvicorn.run(make_app(model), host=host, port=int(port))
