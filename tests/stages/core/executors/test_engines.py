"""Every stage leaves the same bytes whichever engine made its shards, and also after a kill in the middle."""

import random
import signal
import time

import pytest

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
