"""A few nights of the simulated year, one of them killed and one on a full disk; the whole year is run by hand."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.ops.year import IN_USE, LOG
from tests.support import ROOT

NIGHTS, KEEP, SEED = 6, 1, 150  # with this seed the fourth night has a full disk, and the fifth is killed


@pytest.fixture(scope="module")
def nights(tmp_path_factory) -> list[dict[str, Any]]:
    """What each night left; the simulation itself fails where something is lost, damaged or left open."""
    output: Path = tmp_path_factory.mktemp("year") / "nights.jsonl"
    command = [
        sys.executable,
        "-m",
        "tests.ops.year",
        str(NIGHTS),
        "--changed",
        "1",
        "--keep",
        str(KEEP),
        "--seed",
        str(SEED),
        "--output",
        str(output),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if "no mounts of its own" in done.stderr:
        pytest.skip("this process may not mount a small disk")
    log = output.with_suffix(LOG)
    assert done.returncode == 0, done.stderr[-3000:] + (log.read_text()[-5000:] if log.exists() else "")
    return [json.loads(line) for line in output.read_text().splitlines()]


def test_no_night_is_lost(nights):
    assert [night["number"] for night in nights] == list(range(NIGHTS))
    assert {what for night in nights for what in night["disturbed"]} == {"killed", "full disk"}


def test_old_versions_and_data_go(nights):
    """Each night makes a version; after each the simulation compares what takes the disk with the versions that are left."""
    assert nights[-1]["versions"] <= KEEP + IN_USE < NIGHTS
    first, last = (nights[place]["megabytes"] for place in (0, -1))
    for place in ("remote", "DVC's cache"):
        assert last[place] <= nights[-1]["versions"] * first[place]
