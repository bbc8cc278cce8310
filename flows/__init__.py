"""Prefect flows over the stages.

Importing this package sets switches that Prefect and DVC read when they start, so it comes before any import of theirs.
"""

import os

import stages  # noqa: F401 - first, for what Ctrl-C does during the seconds of the other imports

os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "300")  # migrations, on a slow machine
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")  # Prefect's client
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
