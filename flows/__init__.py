"""Prefect flows over the stages.

Importing this package sets variables that Prefect and DVC read when they are imported, so it comes first.
"""

import os

import stages  # noqa: F401 - first of all: it makes Ctrl-C quiet during the seconds that the other imports take

os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "300")  # migrations, on a slow machine
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")  # Prefect's client
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
