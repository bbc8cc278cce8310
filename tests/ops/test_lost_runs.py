"""Runs that a power cut has ended, on a real server: none keeps its place in the pool for ever."""

import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from flows.support.automations import TAG
from tests.ops.platform import ANSWER, Platform, until
from tests.support.small_project import make_project

SILENCE = 20  # seconds
FORGOTTEN = 60  # seconds until the server forgets what an automation waited for
SET_UP = f"""
import datetime
from flows.support import automations
silence = datetime.timedelta(seconds={SILENCE})
for automation in (automations.end_silent_runs(silence), automations.repeat_lost_runs(silence)):
    automations.set_up(automation)
"""


@pytest.fixture
def platform(tmp_path) -> Iterator[Platform]:
    folder = tmp_path / "iedit"
    make_project(folder)
    platform = Platform(folder)
    try:
        platform.start("prefect-server")
        platform.make("deploy")
        yield platform
    finally:
        platform.stop_all()


def run(platform: Platform, *words: str) -> None:
    environment = platform.environment | {"PREFECT_API_URL": f"{platform.prefect}/api"}
    done = subprocess.run(
        ["python", *words], cwd=platform.project, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def put(platform: Platform, state: str) -> str:
    """Order a run, and let it be in a state without any process."""
    run_id = platform.order("pipeline/on-demand")
    content: dict[str, Any] = {"state": {"type": state.upper(), "name": state}, "force": True}
    platform.ask(f"flow_runs/{run_id}/set_state", content)
    assert TAG in platform.ask(f"flow_runs/{run_id}", method="GET")["tags"]
    return run_id


def test_runs_end_though_the_server_was_off_for_long(platform):
    run(platform, "-c", SET_UP)
    running, pending = put(platform, "Running"), put(platform, "Pending")
    time.sleep(2)  # the server writes down what it waits for
    platform.kill("prefect-server")
    time.sleep(SILENCE + FORGOTTEN)
    platform.start("prefect-server")
    run(platform, "-m", "flows.support.reminders")  # as by the worker when it starts
    ends = {running: ("Crashed", "AwaitingRetry", "Late"), pending: ("AwaitingRetry", "Late")}
    until(lambda: all(platform.state(each) in names for each, names in ends.items()), ANSWER)
