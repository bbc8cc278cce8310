"""Why Prefect's server has failed: it answers with its status alone, and has the cause in its log."""

import shutil

from httpx import HTTPStatusError
from prefect.settings import get_current_settings

from stages.core.errors import first_line

FULL = 1_000_000  # bytes; SQLite needs room before it can change anything


def why_failed(error: HTTPStatusError) -> str:
    """Return a line with the cause, as far as it is known here: PREFECT_HOME is where ``make server`` keeps the state."""
    home = get_current_settings().home
    if home.exists() and (free := shutil.disk_usage(home).free) < FULL:
        return f"{first_line(error)}: its disk is full: {home}: {free:,} bytes free"
    return f"{first_line(error)}; its log has the cause"
