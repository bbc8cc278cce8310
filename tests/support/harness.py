"""Stages on tiny models as child processes that can be struck, and the outputs of an undisturbed run to compare with.

The children are forked from a server that has already imported the stages, because importing takes many seconds.
"""

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from stages.__main__ import STAGES
from stages.core.files import TEMPORARY_SUFFIX, file_digest, read_json
from stages.core.paths import TEMPORARY
from stages.tracking.lineage import outs_of, read_stages
from tests.support import ROOT
from tests.support.strikes import Strike, outcome, work

LOGGING = ("train", "instruct", "evaluate")  # the stages that write to MLflow
TRAINING = {  # stages that train → the model, the losses of its steps, and the checkpoints
    "train": ("models/iedit", "models/losses.csv", "models/unfinished"),
    "instruct": ("models/instruct_pix2pix", "models/instruct_losses.csv", "models/instruct_unfinished"),
}
WEIGHTS = Path("unet/diffusion_pytorch_model.safetensors")
STEPS, EVERY, BATCH = 5, 2, 2
PATIENCE = 300  # seconds that a test waits for a process to get somewhere; enough for a very slow machine


def make_models(folder: Path, make_base: Callable[[Path], object] | None = None) -> None:
    from tests.support import tiny

    tiny.tiny_captioner(folder / "captioner")
    tiny.tiny_clip(folder / "clip")
    tiny.tiny_clip(folder / "judge", seed=1)
    tiny.tiny_segmenter(folder / "segmenter")
    tiny.tiny_referee(folder / "referee")
    tiny.tiny_vgg(folder / "vgg")
    (make_base or tiny.tiny_diffusion)(folder / "diffusion")


def make_store(folder: Path) -> None:
    from stages.tracking import store

    os.chdir(folder)
    store.connect()


def read_store(folder: Path, output) -> None:
    """Send what MLflow holds: runs with their steps and artifacts, models, versions."""
    from stages.tracking import store

    os.chdir(folder)
    client = store.connect()
    experiments = [store.experiment_id(client)]
    output.send(
        {
            "runs": [facts_of(client, made) for made in client.search_runs(experiments)],
            "models": [str(made.status) for made in client.search_logged_models(experiments)],
            "versions": [made.version for made in client.search_model_versions("name = 'iedit'")],
        }
    )


def facts_of(client, made) -> dict:
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
    """Return the project's params.yaml with tiny models, a few small pictures, and few steps."""
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
        "evaluate": {"judge": name["judge"], "segmenter": name["segmenter"], "referee": name["referee"]}
        | {"base": name["diffusion"], "vgg": name["vgg"]}
        | {"batch": 2, "max_cases": 4, "gallery": 2, "bootstrap": 10},
    }
    for section, entries in changes.items():
        values[section] |= entries
    values["execution"]["engine"] = "serial"  # strikes are counted in one process
    return values | {"threads": 1}


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code (negative: the signal that ended it) and its output."""

    code: int
    said: str

    @property
    def lines(self) -> list[str]:
        return self.said.replace("\r", "\n").splitlines()

    @property
    def errors(self) -> list[str]:
        """The lines that say why it ended; there must be no traceback."""
        assert "Traceback" not in self.said, self.said
        assert "Exception ignored" not in self.said, self.said
        return [line for line in self.lines if line.startswith("error: ")]

    @property
    def changes(self) -> int:
        return int(self.lines[-1].removeprefix("changes: "))


class Running:
    """A stage that is running in a child process."""

    def __init__(self, server, stage: str, folder: Path, wanted: Strike, environment: dict[str, str]) -> None:
        self._reader, writer = server.Pipe(duplex=False)
        self._process = server.Process(target=work, args=(stage, folder, writer, wanted, environment))
        self._process.start()
        self.pid = self._process.pid
        self._said = b""
        writer.close()

    def kill(self) -> None:
        self._process.kill()  # does nothing if it has ended

    def strike(self, by: signal.Signals) -> None:
        if self._process.is_alive():
            os.kill(self.pid, by)

    def wait_until_it_says(self, words: str) -> None:
        while words.encode() not in self._said:
            assert self._listen(), self._said

    def end(self) -> Ended:
        while self._listen():
            pass
        self._process.join()
        return Ended(self._process.exitcode, self._said.decode())

    def _listen(self) -> bool:
        """Wait for more output; return False once the process has ended."""
        chunk = os.read(self._reader.fileno(), 65536)
        self._said += chunk
        return bool(chunk)


class Project:
    """A folder in which the pipeline ran once undisturbed, with a record of what it left."""

    def __init__(self, server, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.outs = {name: outs_of(stage) for name, stage in read_stages(ROOT).items()}
        self.outs["train"] += ["data/cache", "models/iedit.done", "models/unfinished"]
        self.outs["instruct"] += ["models/instruct_pix2pix.done", "models/instruct_unfinished"]
        self.outs["evaluate"] += ["data/evaluated"]
        self.wanted: dict[str, dict[str, str]] = {}
        self.wanted_store: dict[str, dict] = {}
        self.losses: tuple[Path, ...] = ()  # of the undisturbed training, and of the last one
        self.models: tuple[Path, ...] = ()  # the base model, the trained one, and the folder that stages write it to
        self.changes: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self.bytes: dict[str, int] = {}  # how much the folder grew

    def start(self, stage: str, wanted: Strike | None = None, **environment: str) -> Running:
        return Running(self.server, stage, self.folder, wanted or Strike(), environment)

    def run(self, stage: str, wanted: Strike | None = None) -> Ended:
        return self.start(stage, wanted).end()

    def run_on_small_disk(self, stage: str, room: int) -> Ended:
        """Run the stage on a disk with ``room`` bytes left, and keep what it leaves."""
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
        """Copy the folder as the stage finds it."""
        shutil.copytree(self.folder, self.folder.with_name(f"before {stage}"), symlinks=True)

    def prepare(self, stage: str) -> None:
        """Restore the folder as the stage found it, under the same name."""
        shutil.rmtree(self.folder)
        shutil.copytree(self.folder.with_name(f"before {stage}"), self.folder, symlinks=True)

    def files(self, stage: str) -> list[Path]:
        below = [path for name in self.outs[stage] for path in [self.folder / name, *(self.folder / name).rglob("*")]]
        return sorted(path for path in below if path.is_file())

    def digests(self, stage: str) -> dict[str, str]:
        return {path.relative_to(self.folder).as_posix(): file_digest(path) for path in self.files(stage)}

    def whole(self, stage: str) -> dict[Path, int]:
        """The finished outputs: shards, the model with its losses. A remade one would be another file."""
        ending = ".done.json"
        put = [path for path in self.files(stage) if not path.parent.name.endswith(TEMPORARY_SUFFIX)]
        shards = {path.with_name(path.name.removesuffix(ending)) for path in put if path.name.endswith(ending)}
        found = [path for path in put if path.with_name(path.name.partition(".")[0]) in shards]
        if stage in TRAINING and self.is_trained(stage):
            model, losses, _ = TRAINING[stage]
            found += [path for path in put if path.is_relative_to(self.folder / model)]
            found += [self.folder / f"{model}.done", self.folder / losses]
        return {path: path.stat().st_ino for path in found}

    def is_trained(self, stage: str) -> bool:
        return stage in TRAINING and (self.folder / f"{TRAINING[stage][0]}.done").exists()

    def left_over(self) -> list[str]:
        """Return the temporary files, ours and those of libraries."""
        names = [path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*")]
        return [name for name in names if TEMPORARY_SUFFIX in name or "/.tmp" in name or name.startswith(TEMPORARY.as_posix())]

    @contextmanager
    def params_changed(self, section: str, **changes: object) -> Iterator[None]:
        """Change some entries of a section of params.yaml within the block."""
        path = self.folder / "params.yaml"
        before = path.read_text()
        values = yaml.safe_load(before)
        values[section] |= changes
        path.write_text(yaml.safe_dump(values))
        try:
            yield
        finally:
            path.write_text(before)

    def check_trained_alike(self) -> None:
        """Check that the training left one run with all steps, and losses and weights of the undisturbed run but for rounding.

        A run of other processes, which were killed, may be there too.
        """
        (run,) = (run for run in self.tracked()["runs"] if run["status"] != "KILLED")
        assert (run["status"], run["steps"]) == ("FINISHED", list(range(STEPS)))
        wanted_losses, losses = (np.loadtxt(path, delimiter=",", skiprows=1) for path in self.losses)
        np.testing.assert_allclose(losses, wanted_losses, rtol=2e-3)
        before, wanted, found = (load_file(folder / WEIGHTS) for folder in self.models)
        moved, apart = (np.concatenate([(one[name] - wanted[name]).ravel() for name in wanted]) for one in (before, found))
        assert np.linalg.norm(apart) < 0.05 * np.linalg.norm(moved)

    def resume(self, stage: str) -> Ended:
        """Run the stage again, and check that it ends as if undisturbed and remakes nothing that was whole."""
        whole = self.whole(stage)
        is_trained = self.is_trained(stage)
        checkpoints = self.folder.glob(f"{TRAINING[stage][2]}/*.safetensors") if stage in TRAINING else ()
        steps = max((int(path.name.split(".")[1]) for path in checkpoints), default=0)
        ended = self.run(stage)
        assert (ended.code, ended.errors) == (0, []), ended.said
        assert self.digests(stage) == self.wanted[stage]
        assert self.left_over() == []
        assert {path: path.stat().st_ino for path in whole} == whole
        if stage in TRAINING:
            counts = read_json(self.folder / f"logs/{stage}.json")
            assert counts["done"] <= (0 if is_trained else STEPS - steps) * BATCH
        if stage in LOGGING:
            assert self.tracked() == self.wanted_store[stage]
        return ended


def run_once(folder: Path, make_base: Callable[[Path], object] | None = None) -> Project:
    """Start the fork server, make the models and the store, and run every stage once, undisturbed.

    Args:
        folder: where the project goes.
        make_base: writes the model to train; by default a tiny Stable Diffusion 1.
    """
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["tests.support.preloaded"])
    made = Project(server, folder / "project")
    (made.folder / "data").mkdir(parents=True)
    (made.folder / "data/nltk").symlink_to(ROOT / "data/nltk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        made.call(make_models, folder / "models", make_base)  # starts the server
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
    made.losses = (shutil.copy(made.folder / "models/losses.csv", folder), made.folder / "models/losses.csv")
    made.models = (folder / "models/diffusion", folder / "trained", made.folder / "models/iedit")
    return made


def blocks(folder: Path) -> int:
    """Return how many bytes the files of a folder take on a disk."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum(-(-size // 4096) * 4096 for size in sizes)


def wait_for(condition) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
