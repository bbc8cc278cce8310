"""Every stage, killed, interrupted and left without room, ends as if nothing had been.

The stages run on tiny models as processes of their own, forked from a server that has imported them already, which is
what takes each of them many seconds. They are struck before chosen changes of files, in the middle of chosen files, and
at random moments.
"""

import ctypes
import fcntl
import itertools
import multiprocessing
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from stages import files
from stages.__main__ import stage_named
from stages.files import TEMPORARY_SUFFIX, file_digest, read_json
from stages.run import LOCK, TEMPORARY, run

ROOT = Path(__file__).parents[1]
STAGES = ("ingest", "caption", "mutate", "retrieve", "segment", "train", "evaluate")
LOGGING = ("train", "evaluate")  # the stages that write to MLflow
WEIGHTS = Path("unet/diffusion_pytorch_model.safetensors")
STEPS, EVERY, BATCH = 5, 2, 2
CHANGES = 6  # of the changes that a stage makes to files, those that it is struck before; over all stages 42 kills
MOMENTS = 3  # random ones at which each stage is killed; over all stages 21 kills
PATIENCE = 300  # seconds until a process has come to where a test waits for it, on a very slow machine

PARTS = (0.0, 0.3, 0.6, 0.8)  # of the room that a stage needs, those that a disk has

CHANGING = {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}  # audit events of Python
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT

# A file, and after how many of its bytes it is cut off. A folder is struck in the first file that has more.
TORN = [
    ("ingest", "data/corpus/00001.tar", 6000),
    ("ingest", "data/corpus/00001.done.json", 100),
    ("ingest", "data/corpus/refused.csv", 5),
    ("ingest", "data/evaluation/00001.tar", 6000),
    ("caption", "data/captions/00001.parquet", 500),
    ("caption", "data/captions/00001.done.json", 100),
    ("caption", "logs/caption.json", 20),
    ("mutate", "data/edits/00001.parquet", 500),
    ("mutate", "data/edits/00001.done.json", 100),
    ("retrieve", "data/pairs/embeddings/00001.safetensors", 500),
    ("retrieve", "data/pairs/images.faiss", 200),
    ("retrieve", "data/pairs/00001.parquet", 500),
    ("segment", "data/training/00001.tar", 6000),
    ("segment", "data/heldout/00001.tar", 100),
    ("train", "models/unfinished/*.run.json", 20),
    ("train", "data/cache/00001.safetensors", 5000),
    ("train", "models/unfinished/*.00000004.safetensors", 50_000),
    ("train", "models/losses.csv", 200),
    ("train", "models/iedit", 50_000),
    ("train", "models/iedit.done", 20),
    ("evaluate", "data/evaluated/masks/00000002.safetensors", 2000),
    ("evaluate", "data/evaluated/iedit_m/00000000.safetensors", 2000),
    ("evaluate", "data/evaluated/sdedit/00000002.done.json", 100),
    ("evaluate", "reports/metrics.json", 500),
    ("evaluate", "reports/cases.csv", 50),
    ("evaluate", "reports/table.csv", 50),
    ("evaluate", "reports/table.md", 50),
    ("evaluate", "reports/report.html", 1000),
    ("evaluate", "reports/sheet.png", 500),
    ("evaluate", "reports/samples/source.png", 100),
    ("evaluate", "reports/samples/edit.json", 20),
    ("evaluate", "logs/evaluate.json", 20),
]


@dataclass(frozen=True, kw_only=True)
class Strike:
    """What befalls a stage: a signal before a change of a file, a limit to the size of a file, or a small disk."""

    change: int = 0  # the first is 1
    by: signal.Signals = signal.SIGKILL
    file: str = ""  # a pattern
    limit: int = 0  # bytes
    kills: bool = True  # a file that outgrows the limit kills its writer; otherwise the disk is full for it
    room: int | None = None  # bytes that are left on the disk


def strike(wanted: Strike) -> list[int]:
    """Prepare this process, in which a stage is about to start; return where its changes of files are counted."""
    counted = [0]
    here = Path.cwd()

    def count(event: str, arguments: tuple) -> None:
        if event not in CHANGING and not (event == "open" and arguments[2] & WRITING):
            return
        if isinstance(arguments[0], int) or not Path(os.fsdecode(arguments[0])).absolute().is_relative_to(here):
            return
        counted[0] += 1
        if counted[0] == wanted.change:
            os.kill(os.getpid(), wanted.by)

    def limited(original):
        @contextmanager
        def limited_writing(path: Path):
            with original(path) as temporary:
                if fnmatch(path.as_posix(), wanted.file):
                    # The kernel does it, so it strikes within whatever library writes.
                    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                    signal.signal(signal.SIGXFSZ, signal.SIG_DFL if wanted.kills else signal.SIG_IGN)
                    resource.setrlimit(resource.RLIMIT_FSIZE, (wanted.limit, resource.RLIM_INFINITY))
                yield temporary

        return limited_writing

    sys.addaudithook(count)
    original = files.written_aside
    replacement = limited(original)
    for module in [module for key, module in sys.modules.items() if key.startswith("stages.")]:
        if getattr(module, "written_aside", None) is original:
            module.written_aside = replacement
    return counted


def work(stage: str, folder: Path, output, wanted: Strike, environment: dict[str, str]) -> None:
    """Be the process of a stage."""
    for descriptor in (1, 2):
        os.dup2(output.fileno(), descriptor)
    if wanted.room is not None:
        put_on_small_disk(folder, wanted.room)
    os.chdir(folder)
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run in the background, where it is ignored
    counted = strike(wanted)
    try:
        run(stage_named(stage))
    finally:
        print(f"\nchanges: {counted[0]}", flush=True)
        if wanted.room is not None:
            shutil.copytree(folder, outcome(folder), symlinks=True)  # the disk goes with this process


def put_on_small_disk(folder: Path, room: int) -> None:
    """Let this process, and no other, find the folder on a disk of its own with so many bytes left."""
    user, group, new_user, new_mounts = os.geteuid(), os.getegid(), 0x10000000, 0x00020000
    assert ctypes.CDLL(None).unshare(new_user | new_mounts) == 0
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        Path("/proc/self", name).write_text(text)
    disk = folder.with_name("disk")
    disk.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", disk], check=True)
    shutil.copytree(folder, disk / "project", symlinks=True)
    found = os.statvfs(disk)
    size = (found.f_blocks - found.f_bfree) * found.f_frsize + room
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)
    subprocess.run(["mount", "--bind", disk / "project", folder], check=True)


def outcome(folder: Path) -> Path:
    return folder.with_name("outcome")


def make_models(folder: Path) -> None:
    from tests import tiny

    tiny.tiny_captioner(folder / "captioner")
    tiny.tiny_clip(folder / "clip")
    tiny.tiny_clip(folder / "judge", seed=1)
    tiny.tiny_segmenter(folder / "segmenter")
    tiny.tiny_vgg(folder / "vgg")
    tiny.tiny_diffusion(folder / "diffusion")


def make_store(folder: Path) -> None:
    from stages.tracking import store

    os.chdir(folder)
    store.connect()


def read_store(folder: Path, output) -> None:
    """Tell what is in MLflow: runs with their steps and artifacts, models, versions."""
    from stages.tracking import store

    os.chdir(folder)
    client = store.connect()
    experiments = [store.experiment_id(client)]
    output.send(
        {
            "runs": [told(client, made) for made in client.search_runs(experiments)],
            "models": [str(made.status) for made in client.search_logged_models(experiments)],
            "versions": [made.version for made in client.search_model_versions("name = 'iedit'")],
        }
    )


def told(client, made) -> dict:
    name = made.info.run_id
    return {
        "status": made.info.status,
        "params": len(made.data.params),
        "model": made.data.tags.get("iedit.model_digest"),
        "steps": [metric.step for metric in client.get_metric_history(name, "total")],
        "checkpoints": sorted((item.path[-20:], item.file_size) for item in client.list_artifacts(name, "checkpoints")),
        "pictures": sorted({item.path.split("+")[2] for item in client.list_artifacts(name, "images")}),
    }


def params_for(models: Path) -> dict:
    """The project's params.yaml for the tiny models, a few small pictures, and few steps."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    name = {path.name: {"name": str(path)} for path in models.iterdir()}
    changes = {
        "ingest": {"size": 32, "shard_size": 3, "source": {"kind": "openmoji", "images": 8, "cases": 4}},
        "caption": {"model": name["captioner"], "batch": 2},
        "mutate": {"vocabulary": str(ROOT / "nano/vocabulary.txt")},
        "retrieve": {"clip": name["clip"], "batch": 2, "min_image_image": -1, "min_text_image": -1, "min_directional": -1}
        | {"text_gain": False, "near_duplicate": 1.0},
        "segment": {"model": name["segmenter"], "batch": 2, "min_area": 0.0, "max_area": 1.0},
        "train": {"base": name["diffusion"], "clip": name["clip"], "vgg": name["vgg"], "steps": STEPS, "batch": BATCH}
        | {"checkpoint_every": EVERY, "keep_checkpoints": 1},
        "sampling": {"steps": 2, "strength": 1.0},
        "evaluate": {"judge": name["judge"], "segmenter": name["segmenter"], "base": name["diffusion"], "vgg": name["vgg"]}
        | {"batch": 2, "max_cases": 4, "gallery": 2, "bootstrap": 10},
    }
    for section, entries in changes.items():
        values[section] |= entries
    return values | {"threads": 1}


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, or below zero the signal that ended it, and what it said."""

    code: int
    said: str

    @property
    def lines(self) -> list[str]:
        return self.said.replace("\r", "\n").splitlines()

    @property
    def errors(self) -> list[str]:
        """The line that tells why it ended; it is the only one of its kind, and there is no traceback."""
        assert "Traceback" not in self.said, self.said
        assert "Exception ignored" not in self.said, self.said
        return [line for line in self.lines if line.startswith("error: ")]

    @property
    def changes(self) -> int:
        return int(self.lines[-1].removeprefix("changes: "))


class Running:
    """A stage at work."""

    def __init__(self, server, stage: str, folder: Path, wanted: Strike, environment: dict[str, str]) -> None:
        self._reader, writer = server.Pipe(duplex=False)
        self._process = server.Process(target=work, args=(stage, folder, writer, wanted, environment))
        self._process.start()
        self.pid = self._process.pid
        writer.close()

    def kill(self) -> None:
        self._process.kill()  # nothing where it has ended

    def end(self) -> Ended:
        said = b""
        while chunk := os.read(self._reader.fileno(), 65536):
            said += chunk
        self._process.join()
        return Ended(self._process.exitcode, said.decode())


class Project:
    """A folder in which the pipeline ran once undisturbed, and what it left."""

    def __init__(self, server, folder: Path) -> None:
        self.server, self.folder = server, folder
        written = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
        self.outs = {name: outs_of(stage) for name, stage in written.items()}
        self.outs["train"] += ["data/cache", "models/iedit.done", "models/unfinished"]
        self.outs["evaluate"] += ["data/evaluated"]
        self.wanted: dict[str, dict[str, str]] = {}
        self.wanted_store: dict[str, dict] = {}
        self.models: tuple[Path, ...] = ()  # the base, the tuned one, and where stages put it
        self.changes: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self.bytes: dict[str, int] = {}  # by which the folder grew

    def start(self, stage: str, wanted: Strike | None = None, **environment: str) -> Running:
        return Running(self.server, stage, self.folder, wanted or Strike(), environment)

    def run(self, stage: str, wanted: Strike | None = None) -> Ended:
        return self.start(stage, wanted).end()

    def run_on_small_disk(self, stage: str, room: int) -> Ended:
        """Run the stage where the disk has so many bytes left, and keep what it leaves."""
        ended = self.run(stage, Strike(room=room))
        shutil.rmtree(self.folder)
        outcome(self.folder).rename(self.folder)
        return ended

    def call(self, target, *arguments) -> None:
        process = self.server.Process(target=target, args=arguments)
        process.start()
        process.join()
        assert process.exitcode == 0

    def tracked(self) -> dict:
        reader, writer = self.server.Pipe(duplex=False)
        self.call(read_store, self.folder, writer)
        return reader.recv()

    def keep(self, stage: str) -> None:
        """Remember everything as the stage found it."""
        shutil.copytree(self.folder, self.folder.with_name(f"before {stage}"), symlinks=True)

    def prepare(self, stage: str) -> None:
        """Put everything back to where the stage found it; the folder has the same name, as MLflow notes it down."""
        shutil.rmtree(self.folder)
        shutil.copytree(self.folder.with_name(f"before {stage}"), self.folder, symlinks=True)

    def files(self, stage: str) -> list[Path]:
        below = [path for name in self.outs[stage] for path in [self.folder / name, *(self.folder / name).rglob("*")]]
        return sorted(path for path in below if path.is_file())

    def digests(self, stage: str) -> dict[str, str]:
        return {path.relative_to(self.folder).as_posix(): file_digest(path) for path in self.files(stage)}

    def whole(self, stage: str) -> dict[Path, int]:
        """What is whole: shards, the index, the model with its losses. What was made again would be another file."""
        ending = ".done.json"
        put = [path for path in self.files(stage) if not path.parent.name.endswith(TEMPORARY_SUFFIX)]
        shards = {path.with_name(path.name.removesuffix(ending)) for path in put if path.name.endswith(ending)}
        found = [path for path in put if path.with_name(path.name.partition(".")[0]) in shards]
        index = self.folder / "data/pairs/images.faiss"
        if stage == "retrieve" and index.exists() and file_digest(index) == self.wanted[stage]["data/pairs/images.faiss"]:
            found.append(index)
        if stage == "train" and self.is_trained():
            found += [path for path in put if path.is_relative_to(self.folder / "models/iedit")]
            found += [self.folder / "models/iedit.done", self.folder / "models/losses.csv"]
        return {path: path.stat().st_ino for path in found}

    def is_trained(self) -> bool:
        return (self.folder / "models/iedit.done").exists()

    def left_over(self) -> list[str]:
        """Temporary files: those that are set aside, and what libraries write elsewhere."""
        names = [path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*")]
        return [name for name in names if TEMPORARY_SUFFIX in name or "/.tmp" in name or name.startswith(TEMPORARY.as_posix())]

    def go_on(self, stage: str) -> Ended:
        """Start the stage again, and see that it ends as if nothing had been and does again nothing that was whole."""
        whole = self.whole(stage)
        is_trained = self.is_trained()
        steps = max((int(path.name.split(".")[1]) for path in self.folder.glob("models/unfinished/*.safetensors")), default=0)
        ended = self.run(stage)
        assert (ended.code, ended.errors) == (0, []), ended.said
        assert self.digests(stage) == self.wanted[stage]
        assert self.left_over() == []
        assert {path: path.stat().st_ino for path in whole} == whole
        if stage == "train":
            counts = read_json(self.folder / "logs/train.json")
            assert counts["done"] <= (0 if is_trained else STEPS - steps) * BATCH
        if stage in LOGGING:
            assert self.tracked() == self.wanted_store[stage]
        return ended


def outs_of(stage: dict) -> list[str]:
    named = [*stage.get("outs", []), *stage.get("metrics", [])]
    return [next(iter(out)) if isinstance(out, dict) else out for out in named]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    folder = tmp_path_factory.mktemp("interrupted")
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["tests.preloaded"])
    made = Project(server, folder / "project")
    (made.folder / "data").mkdir(parents=True)
    (made.folder / "data/nltk").symlink_to(ROOT / "data/nltk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        made.call(make_models, folder / "models")  # starts the server
    made.call(make_store, made.folder)
    (made.folder / "params.yaml").write_text(yaml.safe_dump(params_for(folder / "models")))
    for stage in STAGES:
        made.keep(stage)
        before, started = blocks(made.folder), time.monotonic()
        ended = made.run(stage)
        made.seconds[stage] = time.monotonic() - started
        assert ended.code == 0, ended.said
        made.bytes[stage] = blocks(made.folder) - before
        made.changes[stage] = ended.changes
        made.wanted[stage] = made.digests(stage)
        if stage in LOGGING:
            made.wanted_store[stage] = made.tracked()
    shutil.copytree(made.folder / "models/iedit", folder / "trained")
    made.models = (folder / "models/diffusion", folder / "trained", made.folder / "models/iedit")
    return made


def blocks(folder: Path) -> int:
    """The bytes that the files of a folder take on a disk."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum(-(-size // 4096) * 4096 for size in sizes)


def spread(changes: int) -> list[int]:
    """Numbers of some of the changes: one at random out of each of as many equal parts of them, the last always."""
    moments = random.Random(changes)
    bounds = [round(part * changes / CHANGES) for part in range(CHANGES + 1)]
    return [*(moments.randint(first + 1, last) for first, last in itertools.pairwise(bounds[:-1])), changes]


class TestKilled:
    @pytest.mark.parametrize("stage", STAGES)
    def test_before_a_change_of_a_file(self, project, stage):
        for number in spread(project.changes[stage]):
            project.prepare(stage)
            for fewer in range(4):  # a run may make a few changes fewer, as MLflow sends steps by the clock
                ended = project.run(stage, Strike(change=number - fewer))
                if ended.code == -signal.SIGKILL:
                    break
                project.prepare(stage)
            assert ended.code == -signal.SIGKILL, ended.said
            project.go_on(stage)

    @pytest.mark.parametrize("stage", STAGES)
    def test_at_any_moment_again_and_again(self, project, stage):
        project.prepare(stage)
        moments, struck = random.Random(stage), 0
        while struck < MOMENTS:
            running = project.start(stage)
            time.sleep(moments.random() * project.seconds[stage])
            running.kill()
            code = running.end().code
            assert code in {-signal.SIGKILL, 0}
            struck += code == -signal.SIGKILL
            if code == 0 and struck < MOMENTS:  # it was too soon done: from the start again
                project.prepare(stage)
        project.go_on(stage)


class TestCutOff:
    @pytest.mark.parametrize(("stage", "file", "limit"), TORN)
    def test_within_a_file_by_a_kill_then_by_a_full_disk(self, project, stage, file, limit):
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
        project.go_on(stage)


def can_mount() -> bool:
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]  # seen by this command alone
    return shutil.which(command[0]) is not None and subprocess.run(command, check=False, capture_output=True).returncode == 0


class TestFullDisk:
    @pytest.mark.skipif(not can_mount(), reason="this system lets nobody mount a disk")
    @pytest.mark.parametrize("stage", STAGES)
    def test_of_any_size(self, project, stage):
        """Not only our own files are cut off: also MLflow's, and the logs."""
        for part in PARTS:
            project.prepare(stage)
            ended = project.run_on_small_disk(stage, int(part * project.bytes[stage]))
            assert ended.code == 3, (part, ended.said)
            (error,) = ended.errors
            assert error.endswith("; what is whole is kept, make room and run again")
            assert project.left_over() == []
            project.go_on(stage)


class TestInterrupted:
    @pytest.mark.parametrize("stage", STAGES)
    def test_while_it_works(self, project, stage):
        for number in spread(project.changes[stage])[1:-1]:
            project.prepare(stage)
            ended = project.run(stage, Strike(change=number, by=signal.SIGINT))
            assert ended.code == 130, ended.said
            assert len(ended.errors) == 1
            assert ended.errors[0].startswith("error: interrupted")
            # When it strikes while a folder that was set aside is removed, that stays, empty, for the next run to remove.
            assert not any((project.folder / name).is_file() for name in project.left_over())
        project.go_on(stage)

    def test_while_it_imports(self, tmp_path):
        shutil.copy(ROOT / "params.yaml", tmp_path)
        command = [sys.executable, "-m", "stages", "caption"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a child would inherit that it is ignored
        with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process:
            wait_for(lambda: "libtorch" in Path(f"/proc/{process.pid}/maps").read_text())
            process.send_signal(signal.SIGINT)
            _, said = process.communicate()
        assert (process.returncode, said.count("\n")) == (130, 1), said
        assert said.startswith("error: interrupted")


class TestTwoAtOnce:
    def test_the_second_waits_and_finds_all_done(self, project):
        project.prepare("train")
        first = project.start("train")
        wait_for(lambda: (project.folder / LOCK).exists() and str(first.pid) in (project.folder / LOCK).read_text())
        second = project.start("train")
        assert first.end().code == 0
        ended = second.end()
        assert f"waiting for train (process {first.pid})" in ended.said
        assert ended.code == 0
        counts = read_json(project.folder / "logs/train.json")
        assert (counts["done"], counts["reused"]) == (0, STEPS * BATCH)
        assert project.digests("train") == project.wanted["train"]
        assert project.tracked() == project.wanted_store["train"]

    def test_the_lock_goes_with_its_process(self, project):
        project.prepare("caption")
        assert project.run("caption", Strike(change=12)).code == -signal.SIGKILL
        assert "waiting" not in project.go_on("caption").said

    def test_the_second_can_be_interrupted_while_it_waits(self, project):
        with (project.folder / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            waiting = project.start("ingest")
            time.sleep(0.5)
            os.kill(waiting.pid, signal.SIGINT)
            ended = waiting.end()
        assert ended.code == 130
        assert len(ended.errors) == 1


class TestProcesses:
    def test_two_train_as_one_with_twice_the_batch(self, project):
        """As ``accelerate launch`` starts them: both step, the first alone writes and logs."""
        project.prepare("train")
        params = yaml.safe_load((project.folder / "params.yaml").read_text())
        halved = params | {"train": params["train"] | {"batch": BATCH // 2}}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        try:
            (project.folder / "params.yaml").write_text(yaml.safe_dump(halved))
            both = [project.start("train", **launched(rank, port)) for rank in (0, 1)]
            first, second = (running.end() for running in both)
        finally:
            (project.folder / "params.yaml").write_text(yaml.safe_dump(params))
        assert (first.code, second.code) == (0, 0), first.said + second.said
        assert "step/s" not in second.said
        (run,) = project.tracked()["runs"]
        assert (run["status"], run["steps"]) == ("FINISHED", list(range(STEPS)))
        losses = (project.folder / "models/losses.csv").read_text().splitlines()
        assert len(losses) == 1 + STEPS
        before, wanted, found = (load_file(folder / WEIGHTS) for folder in project.models)
        moved, apart = (np.concatenate([(one[name] - wanted[name]).ravel() for name in wanted]) for one in (before, found))
        assert np.linalg.norm(apart) < 0.05 * np.linalg.norm(moved)


def launched(rank: int, port: str) -> dict[str, str]:
    """What ``accelerate launch --cpu --num_processes 2`` puts into the environment of a process."""
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    return {name: str(number) for name, number in numbers.items()} | place


def wait_for(condition) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
