"""One call of the nightly flow without Prefect's engine and server: its tasks are called as functions, nothing is tried again.

tests/ops/test_prefect.py runs the flow on the servers; the clock is the one that :mod:`tests.support.forks` has moved.
"""

import logging
import sys
import time
from datetime import datetime
from typing import Any

from flows import refresh
from flows.support import artifacts, nights, registry, tasks, upkeep

TASKS = {
    refresh: (
        *(
            "check_upkeep",
            "champion_version",
            "download_pictures",
            "check_data",
            "log_speeds",
            "publish_results",
            "publish_decision",
            "push_data",
        ),
        "prune",
    ),
    tasks: ("update_stage",),
}
PUBLISHING = ("create_markdown_artifact", "create_table_artifact", "create_link_artifact", "create_progress_artifact")


class Called:
    """A task that is called as a function."""

    def __init__(self, function: Any) -> None:
        self.fn = function

    def with_options(self, **_: object) -> "Called":
        return self

    def __call__(self, *arguments: Any, return_state: bool = False, **named: Any) -> Any:
        try:
            return self.fn(*arguments, **named)
        except Exception:
            if not return_state:  # with it Prefect returns the failure, which the flow passes over
                raise
            logging.getLogger(__name__).exception("%s failed", self.fn.__name__)


class MovedDate(datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.fromtimestamp(time.time(), tz)


def without_engine() -> None:
    for module, names in TASKS.items():
        for name in names:
            setattr(module, name, Called(getattr(module, name).fn))
    for module in (artifacts, nights, registry, tasks, upkeep):
        for name in PUBLISHING:
            if hasattr(module, name):
                setattr(module, name, lambda **_: None)
        if hasattr(module, "get_run_logger"):
            module.get_run_logger = logging.getLogger
    upkeep.emit_event = lambda *_, **__: None
    upkeep.datetime = MovedDate


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    without_engine()
    refresh.refresh.fn()
