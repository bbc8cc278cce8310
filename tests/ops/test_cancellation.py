"""A run cancelled after the server was away, and a run killed: a real server and worker, and a flow that only waits."""

import time
from collections.abc import Iterator

import pytest

from tests.ops.platform import ANSWER, Platform, started, until
from tests.support.small_project import make_project

AWAY = 90  # seconds after which Prefect's worker has given up looking for cancelled runs
LATER = 60  # seconds after a new start in which a second one shows
WAITS = """
import sys
from prefect import flow
from flows.support.cancellation import cancellable
from flows.support.process import run_command
@flow
def pipeline(force: bool = False, targets: list[str] | None = None):
    with cancellable():
        run_command([sys.executable, "-c", "import time; time.sleep(3600)"], print)
"""


@pytest.fixture
def platform(tmp_path) -> Iterator[Platform]:
    folder = tmp_path / "iedit"
    make_project(folder)
    (folder / "flows/pipeline.py").write_text(WAITS)
    with started(folder, "prefect-server") as platform:
        yield platform


def test_a_run_is_cancelled_though_the_server_was_away(platform):
    run_id = platform.order("pipeline/on-demand")
    (training,) = until(lambda: platform.processes("time.sleep"))
    platform.stop("prefect-server")
    time.sleep(AWAY)
    platform.start("prefect-server")
    assert training.is_running()
    platform.ask(f"flow_runs/{run_id}/set_state", {"state": {"type": "CANCELLING"}})
    assert platform.end_of(run_id) == "Cancelled"
    assert not platform.processes("time.sleep")
    until(lambda: not platform.processes("prefect.engine"), ANSWER)


def test_a_run_that_is_killed_starts_again_once(platform):
    """Alone, not with its worker, which then reports the crash too."""
    run_id = platform.order("pipeline/on-demand")
    (engine,) = until(lambda: platform.processes("prefect.engine"))
    (waiting,) = until(lambda: platform.processes("time.sleep"))
    engine.kill()
    waiting.kill()
    assert platform.reach(run_id, "AwaitingRetry")
    until(lambda: platform.processes("time.sleep"))
    end = time.monotonic() + LATER
    while time.monotonic() < end:
        assert len(platform.processes("prefect.engine")) == 1
        time.sleep(1)
    states = platform.ask(f"flow_run_states/?flow_run_id={run_id}", method="GET")
    assert [state["name"] for state in states].count("Crashed") == 1
    assert platform.state(run_id) == "Running"
