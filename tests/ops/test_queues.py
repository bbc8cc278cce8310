"""Which runs wait for one another: a real server and worker, and flows that wait for a file in place of hours of work."""

from collections.abc import Iterator

import pytest

from tests.ops.platform import Platform, started, until
from tests.support.small_project import make_project

WAITS = """
import time
from pathlib import Path
from prefect import flow
@flow(timeout_seconds=3600)
def {name}(seeds: int = 3):
    while not Path("finish").exists():
        time.sleep(0.2)
"""


@pytest.fixture
def platform(tmp_path) -> Iterator[Platform]:
    folder = tmp_path / "my project"
    make_project(folder)
    for name in ("pipeline", "refresh", "tables", "ablation"):
        (folder / "flows" / f"{name}.py").write_text(WAITS.format(name=name))
    with started(folder) as platform:
        yield platform


def test_a_night_starts_while_tables_are_made(platform):
    """Of the runs that change the project, and of those that make tables, one at a time."""
    tables, night = platform.order("tables/weekly"), platform.order("refresh/nightly")
    for run_id in (tables, night):
        until(lambda run_id=run_id: platform.state(run_id) == "Running")
    waiting = [platform.order(name) for name in ("ablation/on-demand", "pipeline/on-demand")]
    until(lambda: {platform.state(run_id) for run_id in waiting} == {"Late"})
    assert [platform.state(run_id) for run_id in (tables, night)] == ["Running", "Running"]
    (platform.project / "finish").touch()
    assert [platform.end_of(run_id) for run_id in (tables, night, *waiting)] == ["Completed"] * 4
