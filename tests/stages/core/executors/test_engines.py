"""Every stage leaves the same bytes whichever engine made its shards, and also after a kill in the middle."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.support import ROOT
from tests.support.harness import PATIENCE

STAGES = ("ingest", "caption", "mutate", "retrieve", "segment", "train")
QUICK = {("segment", "processes")}


def marked(stage: str, engine: str):
    return pytest.param(stage, engine, marks=[] if (stage, engine) in QUICK else pytest.mark.exhaustive)


@pytest.mark.parametrize(("stage", "engine"), [marked(stage, engine) for engine in ("processes",) for stage in STAGES])
def test_bytes_are_those_of_one_process(project, stage, engine):
    project.prepare(stage)
    with project.params_changed("execution", engine=engine, workers=2):
        ended = project.run(stage)
    assert (ended.code, ended.errors) == (0, []), ended.said
    assert project.digests(stage) == project.wanted[stage]
    assert project.left_over() == []


@pytest.mark.parametrize(
    "stage", [pytest.param(stage, marks=[] if stage == "caption" else pytest.mark.exhaustive) for stage in STAGES]
)
def test_bytes_of_a_ray_cluster_are_those_of_one_process(project, stage, monkeypatch, tmp_path):
    """The stage starts a cluster, so it is a program of its own here: Ray and the tests' fork server do not mix."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    project.prepare(stage)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    said = tmp_path / "said.log"  # a pipe would stay open as long as any process of the cluster
    with project.params_changed("execution", engine="ray", workers=2), said.open("wb") as log:
        command = [sys.executable, "-m", "stages", stage]
        done = subprocess.run(
            command, cwd=project.folder, env=environment, stdout=log, stderr=log, timeout=PATIENCE, check=False
        )
    assert done.returncode == 0, said.read_text()
    assert project.digests(stage) == project.wanted[stage]


@pytest.mark.exhaustive
@pytest.mark.parametrize("stage", STAGES[:-1])
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_a_stage_struck_at_any_moment_resumes(project, stage, by):
    project.prepare(stage)
    with project.params_changed("execution", engine="processes", workers=2):
        moments = random.Random(f"{stage} {by}")
        for _ in range(2):
            running = project.start(stage)
            time.sleep(moments.random() * project.seconds[stage])
            running.strike(by)
            assert running.end().code in {-signal.SIGKILL, 130, 0}
        project.resume(stage)
