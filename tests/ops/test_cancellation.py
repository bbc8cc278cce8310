"""A run that is cancelled after the server was away: a real server and worker, and a flow that waits in place of a training."""

import time
from collections.abc import Iterator

import pytest

from tests.ops.platform import ANSWER, Platform, started, until
from tests.support.small_project import make_project

AWAY = 90  # seconds after which Prefect's worker has given up looking for cancelled runs
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
