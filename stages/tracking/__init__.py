"""What is kept of trainings and models in MLflow: runs, their curves, and the registered model.

Importing this package sets MLflow's switches, so it comes before any import of ``mlflow``.
"""

import os

os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"  # models are code and safetensors, never pickles
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # the address of a server may have a password in it
os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")  # a model's requirements are those that we name
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
