"""Every stage that was killed, interrupted or left without disk space resumes and ends as if nothing had happened.

Stages are struck before chosen changes of files, in the middle of chosen files, and at random moments. `make test` strikes
one stage of each kind (a stage of shards, a training, the evaluation); `make test-all` strikes all of them everywhere.
"""

import fcntl
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from fnmatch import fnmatch

import pytest

from stages.core.files import TEMPORARY_SUFFIX, read_json
from stages.core.paths import LOCK
from tests.support.harness import BATCH, EVERY, STAGES, STEPS, Ended, wait_for
from tests.support.strikes import Strike

CHANGES = 6  # how many of a stage's changes of files it is killed before; 54 kills over all stages
MOMENTS = 3  # at how many random moments each stage is killed; 27 kills over all stages
PARTS = (0.0, 0.3, 0.6, 0.8)  # shares of the disk space that a stage needs
OF_EACH_KIND = ("caption", "train", "evaluate")

# A stage, a file, and the number of bytes after which it is cut off. A folder is struck in its first file that is larger.
TORN = [
    ("ingest", "data/corpus/00001.tar", 6000),
    ("ingest", "data/corpus/00001.done.json", 100),
    ("ingest", "data/corpus/duplicates/00001.parquet", 300),
    ("ingest", "data/corpus/refused.csv", 5),
    ("ingest", "data/evaluation/00001.tar", 6000),
    ("ingest", "data/validation/00000.tar", 6000),
    ("caption", "data/captions/00001.parquet", 500),
    ("caption", "data/captions/00001.done.json", 100),
    ("caption", "logs/caption.json", 20),
    ("mutate", "data/edits/00001.parquet", 500),
    ("mutate", "data/edits/00001.done.json", 100),
    ("retrieve", "data/pairs/embeddings/00001.images.safetensors", 500),
    ("retrieve", "data/pairs/embeddings/00001.texts.safetensors", 500),
    ("retrieve", "data/pairs/indexes/00000.faiss", 200),
    ("retrieve", "data/pairs/candidates/00001.safetensors", 200),
    ("retrieve", "data/pairs/00001.parquet", 500),
    ("segment", "data/masks/00001.parquet", 500),
    ("segment", "data/training/00001.parquet", 500),
    ("segment", "data/heldout/00001.parquet", 100),
    ("train", "models/unfinished/*.run.json", 20),
    ("train", "data/cache/00001.safetensors", 5000),
    ("train", "models/unfinished/*.00000004.safetensors", 50_000),
    ("train", "models/losses.csv", 200),
    ("train", "models/iedit", 50_000),
    ("train", "models/iedit.done", 20),
    ("instruct", "models/instruct_unfinished/*.00000004.safetensors", 50_000),
    ("instruct", "models/instruct_losses.csv", 100),
    ("instruct", "models/instruct_pix2pix", 50_000),
    ("instruct", "models/instruct_pix2pix.done", 20),
    ("evaluate", "data/evaluated/masks/00000002.safetensors", 2000),
    ("evaluate", "data/evaluated/iedit_m/00000000.safetensors", 2000),
    ("evaluate", "data/evaluated/sdedit/00000002.done.json", 100),
    ("evaluate", "logs/reports/metrics.json", 500),
    ("evaluate", "logs/reports/cases.csv", 50),
    ("evaluate", "logs/reports/table.csv", 50),
    ("evaluate", "logs/reports/table.md", 50),
    ("evaluate", "logs/reports/report.html", 1000),
    ("evaluate", "logs/reports/sheet.png", 500),
    ("evaluate", "logs/reports/losses.svg", 500),
    ("evaluate", "logs/reports/samples/source.png", 100),
    ("evaluate", "logs/reports/samples/edit.json", 20),
    ("evaluate", "logs/evaluate.json", 20),
]


QUICK = {"data/captions/00001.parquet", "models/unfinished/*.00000004.safetensors", "logs/reports/metrics.json"}


def marked(stage: str, *others: object, quick: bool):
    """Return a test's parameters; those that are not quick are left to `make test-all`."""
    return pytest.param(stage, *others, marks=[] if quick else pytest.mark.exhaustive)


def spread(changes: int) -> list[int]:
    """Return CHANGES numbers from 1 to ``changes``: one drawn from each of as many equal parts, and always the last."""
    moments = random.Random(changes)
    bounds = [round(part * changes / CHANGES) for part in range(CHANGES + 1)]
    return [*(moments.randint(first + 1, last) for first, last in itertools.pairwise(bounds[:-1])), changes]


class TestKilled:
    @pytest.mark.parametrize(
        ("stage", "part"),
        [marked(stage, part, quick=stage in OF_EACH_KIND and part == 3) for stage in STAGES for part in range(CHANGES)],
    )
    def test_before_a_change_of_a_file(self, project, stage, part):
        number = spread(project.changes[stage])[part]
        project.prepare(stage)
        for fewer in range(4):  # a run may make a few changes less, because MLflow sends steps by the clock
            ended = project.run(stage, Strike(change=number - fewer))
            if ended.code == -signal.SIGKILL:
                break
            project.prepare(stage)
        assert ended.code == -signal.SIGKILL, ended.said
        project.resume(stage)

    @pytest.mark.exhaustive
    @pytest.mark.parametrize("stage", STAGES)
    def test_at_random_moments(self, project, stage):
        project.prepare(stage)
        moments, struck = random.Random(stage), 0
        while struck < MOMENTS:
            running = project.start(stage)
            time.sleep(moments.random() * project.seconds[stage])
            running.kill()
            code = running.end().code
            assert code in {-signal.SIGKILL, 0}
            struck += code == -signal.SIGKILL
            if code == 0 and struck < MOMENTS:  # it was done too soon: start over
                project.prepare(stage)
        project.resume(stage)


class TestCutOff:
    @pytest.mark.parametrize(("stage", "file", "limit"), [marked(*torn, quick=torn[1] in QUICK) for torn in TORN])
    def test_by_a_kill_then_by_a_full_disk(self, project, stage, file, limit):
        project.prepare(stage)
        assert project.run(stage, Strike(file=file, limit=limit)).code == -signal.SIGXFSZ
        assert any(fnmatch(name, f"{file}{TEMPORARY_SUFFIX}/*") for name in project.left_over())
        ended = project.run(stage, Strike(file=file, limit=limit, kills=False))
        assert ended.code == 3, ended.said
        (error,) = ended.errors
        path, _, rest = error.removeprefix("error: ").partition(": ")
        assert fnmatch(path, file)
        assert rest.startswith("File too large; ")
        assert project.left_over() == []
        project.resume(stage)


DISK_FULL = "; finished work is kept, make room and run again"


def can_mount() -> bool:
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]  # no other process sees this mount
    return shutil.which(command[0]) is not None and subprocess.run(command, check=False, capture_output=True).returncode == 0


class TestFullDisk:
    @pytest.mark.skipif(not can_mount(), reason="this system does not let users mount a disk")
    @pytest.mark.parametrize(
        ("stage", "part"),
        [marked(stage, part, quick=stage in OF_EACH_KIND and part == 0.6) for stage in STAGES for part in PARTS],
    )
    def test_of_any_size(self, project, stage, part):
        """Not only our own files are cut off, but also MLflow's and the logs."""
        project.prepare(stage)
        ended = project.run_on_small_disk(stage, int(part * project.bytes[stage]))
        assert ended.code == 3, (part, ended.said)
        (error,) = ended.errors
        assert error.endswith(DISK_FULL)
        assert project.left_over() == []
        project.resume(stage)


class TestInterrupted:
    @pytest.mark.parametrize(
        ("stage", "part"),
        [marked(stage, part, quick=stage in OF_EACH_KIND and part == 2) for stage in STAGES for part in range(1, CHANGES - 1)],
    )
    def test_while_it_works(self, project, stage, part):
        project.prepare(stage)
        ended = project.run(stage, Strike(change=spread(project.changes[stage])[part], by=signal.SIGINT))
        assert ended.code == 130, ended.said
        assert len(ended.errors) == 1
        assert ended.errors[0].startswith("error: interrupted")
        # A temporary folder whose removal was interrupted stays, empty, and the next run removes it.
        assert not any((project.folder / name).is_file() for name in project.left_over())
        project.resume(stage)


class TestTwoAtOnce:
    def test_the_second_waits_and_finds_all_done(self, project):
        project.prepare("train")
        first = project.start("train")
        wait_for(lambda: (project.folder / LOCK).exists() and str(first.pid) in (project.folder / LOCK).read_text())
        os.kill(first.pid, signal.SIGSTOP)
        second = project.start("train")
        second.wait_until_it_says(f"waiting for train (process {first.pid})")
        os.kill(first.pid, signal.SIGCONT)
        assert first.end().code == 0
        assert second.end().code == 0
        counts = read_json(project.folder / "logs/train.json")
        assert (counts["done"], counts["reused"]) == (0, STEPS * BATCH)
        assert project.digests("train") == project.wanted["train"]
        assert project.tracked() == project.wanted_store["train"]

    def test_the_lock_goes_with_its_process(self, project):
        project.prepare("caption")
        assert project.run("caption", Strike(change=12)).code == -signal.SIGKILL
        assert "waiting" not in project.resume("caption").said

    def test_the_second_can_be_interrupted_while_it_waits(self, project):
        with (project.folder / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            waiting = project.start("ingest")
            waiting.wait_until_it_says("one at a time in a folder\n")
            os.kill(waiting.pid, signal.SIGINT)
            ended = waiting.end()
        assert ended.code == 130
        assert len(ended.errors) == 1


class TestProcesses:
    def test_two_train_as_one_with_twice_the_batch(self, project):
        """Both take the steps, and only the first writes and logs."""
        project.prepare("train")
        first, second = self.train(project)
        assert (first.code, second.code) == (0, 0), first.said + second.said
        assert "step/s" not in second.said
        project.check_trained_alike()

    def test_two_resume_what_one_began(self, project):
        project.prepare("train")
        assert project.run("train", Strike(file=f"*.{2 * EVERY:08d}.safetensors", limit=1000)).code == -signal.SIGXFSZ
        first, second = self.train(project)
        assert (first.code, second.code) == (0, 0), first.said + second.said
        assert f"{EVERY}/{STEPS}" in first.said
        project.check_trained_alike()

    def test_a_loss_that_is_not_finite_ends_both(self, project):
        project.prepare("train")
        first, second = self.train(project, learning_rate=1e30)
        assert (first.code, second.code) == (2, 2), first.said + second.said
        assert [line.partition(";")[0] for line in first.errors] == ["error: train: the loss of step 1 is nan"]
        assert second.errors == []

    def train(self, project, **changes: object) -> list[Ended]:
        """Run the stage in two processes with half the batch each, started as ``accelerate launch`` starts them."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        with project.params_changed("train", batch=BATCH // 2, **changes):
            both = [project.start("train", **launched(rank, port)) for rank in (0, 1)]
            return [running.end() for running in both]


def launched(rank: int, port: str) -> dict[str, str]:
    """Return the environment variables that ``accelerate launch --cpu --num_processes 2`` sets for a process."""
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    return {name: str(number) for name, number in numbers.items()} | place
