"""Trainings and models in MLflow: runs with their losses, the registered model, and the choice of its champion.

Importing this package sets MLflow's switches, so it must come before any import of ``mlflow``.
"""

import os

os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"  # models are code and safetensors, never pickles
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")  # one minute of MLflow's four; flows try again for longer
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # a server's address may contain a password
os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")  # a model requires exactly the packages that we name
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
