"""A year of nights in an hour: the nightly flow on a tiny corpus, with its kills and full disks.

``python -m tests.ops.year 365`` prints a table. Real are the flow, its commands, DVC with a remote, the stages up to the
training set (on models of random weights), MLflow's store, the registry and the pruning. Made up are the training
(:mod:`tests.support.stand_in_trainer`) and the clock; left out are Prefect's engine and servers. All of it lies on a small disk
in memory, which is filled at random. On some nights, a share of all, one picture of the corpus is replaced. A night that was
killed is called again, as the server does (flows/support/automations.py), and so is one that found the disk full.
"""

import argparse
import ctypes
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
import yaml
from PIL import Image

from stages.core.disk import used_gigabytes
from stages.core.files import folder_digest, read_json
from stages.core.paths import TRAINING_SET
from stages.tracking.lineage import read_stages
from tests.support import ROOT, forks, harness
from tests.support.small_project import FILES, choose, commit, run, set_params

PICTURES, SHARD_SIZE = 16, 4
DAY = 24 * 3600
DISK = 600  # MB
ROOM = 3_000_000  # bytes: a full disk has at most so many left
KILLED, FULL = 0.15, 0.1  # shares of nights
PATIENCE = 300  # seconds until a process that should end must have ended
ATTEMPTS = 4  # of a night; the last two are left alone
IN_USE = 3  # versions that stay besides the newest: champion, challenger, and the one to roll back to
SMALL_FILES = 0.02  # MB a night: losses and parameters of a run, which stay
LOG = ".attempt.log"  # of the last call of the flow; its name is that of the output otherwise
PRELOADED = "tests.support.preloaded_night"
PLACES = {
    "DVC's cache": ".dvc/cache",
    "MLflow's artifacts": "mlruns",
    "mlflow.db": "mlflow.db",
    "project, with these": ".",
    "remote": "../remote",
}
WORDS = ("dog", "cat", "cow", "pig", "hen", "fox")


@dataclass(frozen=True, kw_only=True)
class Night:
    """How one night went."""

    number: int
    disturbed: list[str]  # what was done to each attempt before the last: "killed" or "full disk"
    champion: str
    versions: int
    megabytes: dict[str, float]  # what takes the disk, by place
    seconds: float  # of the attempt that came to its end


class Year:
    """A project on a small disk, its forks, and its nights so far."""

    def __init__(self, folder: Path, program: Path, server: int, options: argparse.Namespace) -> None:
        self.folder, self.project, self.server = folder, folder / "iedit", psutil.Process(server)
        self.environment = os.environ | {"FORKS": str(program), "OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1"}
        self.program, self.random, self.typical = program, random.Random(options.seed), 10.0
        self.changed, self.keep = options.changed, options.keep
        self.first: dict[str, float] = {}  # MB after the first night, which made one version
        self.log = options.output.with_suffix(LOG)  # not on the small disk

    def make_project(self) -> None:
        for name in ("stages", "conf"):
            shutil.copytree(ROOT / name, self.project / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in (*FILES, "nano/vocabulary.txt"):
            (self.project / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, self.project / name)
        (self.project / "data").mkdir()
        (self.project / "data/nltk").symlink_to(ROOT / "data/nltk")
        harness.make_models(self.folder / "models")
        (self.project / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages_of_a_night()}))
        for number in range(PICTURES):
            self.draw(number, number)
        values = harness.params_for(self.folder / "models")
        tiny = {name: values[name] for name in ("caption", "mutate", "retrieve", "segment")}
        tiny |= {"train": {"base": values["train"]["base"]}, "evaluate": {"segmenter": values["evaluate"]["segmenter"]}}
        choose(
            self.project,
            "source=folder",
            f"ingest.source.path={self.folder / 'photos'}",
            "execution.engine=serial",
            "evaluate.cases=data/training",
        )
        set_params(self.project, tiny | {"ingest": {"size": 32, "shard_size": SHARD_SIZE, "min_side": 8, "max_refused": 1.0}})
        set_params(self.project, {"drift": {"max_difference": None, "max_ratio": None}, "threads": 1})
        set_params(self.project, {"upkeep": {"keep": self.keep, "min_free": 0.001, "prune_remote": "own"}})
        for command in (("git", "init", "-q"), ("dvc", "init", "-q"), ("dvc", "remote", "add", "-d", "own", "../remote")):
            run(self.project, *command)
        commit(self.project, "start")

    def draw(self, number: int, seed: int) -> None:
        """Draw one of the corpus's pictures, or draw it anew."""
        rng = np.random.default_rng(seed)
        photos = self.folder / "photos"
        photos.mkdir(exist_ok=True)
        picture = Image.fromarray(rng.integers(256, size=(4, 4, 3), dtype=np.uint8)).resize((32, 32))
        picture.save(photos / f"{number}.png")
        texts = [f"{each}.png,a {WORDS[each % len(WORDS)]} on the beach" for each in range(PICTURES)]
        (photos / "metadata.csv").write_text("\n".join(["file_name,text", *texts]) + "\n")

    def attempt(self, number: int, disturbance: str | None) -> bool:
        """Call the flow, and disturb it; return whether it came to its end."""
        command = [self.program, "-m", "tests.support.simulated_night"]
        environment = self.environment | {forks.CLOCK: str(number * DAY)}
        ballast = self.folder / "ballast"
        if disturbance == "full disk":
            with ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(self.folder).free - self.random.randrange(ROOM))
        with self.log.open("wb") as log:
            process = subprocess.Popen(command, cwd=self.project, env=environment, stdout=log, stderr=log)
            if disturbance == "killed":
                time.sleep(self.random.uniform(0, self.typical))
                self.kill()
            code = process.wait()
        ballast.unlink(missing_ok=True)
        return code == 0

    def kill(self) -> None:
        """Kill the flow and every process that it has started."""
        while started := self.server.children(recursive=True):
            for process in started:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            time.sleep(0.01)

    def night(self, number: int) -> Night:
        """Call the flow until it comes to its end, and check what must hold after each attempt and after the night."""
        if int(number * self.changed) > int((number - 1) * self.changed):
            self.draw(number % PICTURES, PICTURES + number)
        disturbed: list[str] = []
        while True:
            assert len(disturbed) < ATTEMPTS, f"night {number} is lost: {self.log}"
            chance = self.random.random() if number and len(disturbed) < ATTEMPTS - 2 else 1.0
            disturbance = "killed" if chance < KILLED else "full disk" if chance < KILLED + FULL else None
            started = time.monotonic()
            if self.attempt(number, disturbance):
                break
            assert disturbance, f"night {number} failed by itself: {self.log}"
            disturbed.append(disturbance)
            self.check_champion()
        seconds = time.monotonic() - started
        if not disturbed:
            self.typical = 0.8 * self.typical + 0.2 * seconds
        champion, versions = self.check_champion(), self.check_nothing_is_open(number)
        sizes = {name: megabytes(self.project / path) for name, path in PLACES.items()}
        self.check_bounded(number, versions, sizes)
        return Night(
            number=number, disturbed=disturbed, champion=champion, versions=versions, megabytes=sizes, seconds=round(seconds, 1)
        )

    def check_champion(self) -> str:
        """Check that the champion has the files it was registered with and a readable record, and edits; return its number."""
        from stages.editing.request import MaskMode
        from stages.tracking import registry, store
        from stages.tracking.record import fetch_record
        from stages.tracking.runs import MODEL_DIGEST
        from tests.support.registered import EXAMPLE

        client = store.connect(create=False)
        champion = registry.current_champion()
        assert champion is not None
        with tempfile.TemporaryDirectory() as folder:
            fetch_record(client, champion, Path(folder))
        registered = client.get_model_version(registry.NAME, champion.version).tags
        assert folder_digest(registry.fetch_trained(client, registry.CHAMPION_URI)) == registered[MODEL_DIGEST]
        editor, sampling = registry.load_editor()
        (edited,) = editor.edit(EXAMPLE, mask_mode=MaskMode.NONE, sampling=sampling)
        assert edited.size == EXAMPLE.image.size
        return champion.version

    def check_nothing_is_open(self, number: int) -> int:
        """Check what holds after a night that ended; return how many versions there are.

        A kill between the beginning of a run and the file that names it leaves a run that pruning ends when it was silent for
        a week.
        """
        from stages.tracking import registry, store
        from stages.tracking.nights import EXPERIMENT
        from stages.tracking.retention import SILENT

        client = store.connect(create=False)
        latest = registry.latest_version()
        assert latest is not None
        trained_on = client.get_run(latest.run_id).data.tags["iedit.dataset_digest"]
        assert trained_on == folder_digest(self.project / TRAINING_SET), "the night's data were not trained on"
        experiments = [client.get_experiment_by_name(name).experiment_id for name in ("iedit", EXPERIMENT)]
        week_ago = 1000 * (time.time() + (number - 1) * DAY) - SILENT
        open_runs = client.search_runs(experiments, "attributes.status = 'RUNNING'")
        assert [run.info.run_name for run in open_runs if run.info.start_time < week_ago] == []
        locks = self.project / ".dvc/tmp/rwlock"
        assert not locks.is_file() or not any(read_json(locks).values())
        left = [path for path in self.project.rglob("*.partial") if ".git" not in path.parts]
        assert left == []
        assert list((self.project / "logs/tmp").glob("*")) == []
        _, left = psutil.wait_procs(self.server.children(), PATIENCE)  # a fork answers a moment before it ends
        assert left == []
        return len(client.search_model_versions("name = 'iedit'"))

    def check_bounded(self, number: int, versions: int, sizes: dict[str, float]) -> None:
        """Check that nothing takes the disk but the versions that pruning keeps."""
        self.first = self.first or sizes
        assert versions <= self.keep + IN_USE
        allowed = {name: versions * self.first[name] for name in ("DVC's cache", "remote", "MLflow's artifacts")}
        allowed["MLflow's artifacts"] += number * SMALL_FILES
        assert {name: most for name, most in allowed.items() if sizes[name] > most} == {}, sizes


def stages_of_a_night() -> dict:
    """The stages of dvc.yaml without digests of models and without WordNet, and the stand-in for training and evaluation."""
    stages = read_stages(ROOT)
    made: dict = {}
    for name in ("code", "source", "ingest", "caption", "mutate", "retrieve", "segment", "describe"):
        deps = [dep for dep in stages[name].get("deps", []) if not dep.startswith(("data/models", "data/nltk"))]
        made[name] = stages[name] | {"deps": deps}
    stand_in = "python -m tests.support.stand_in_trainer"
    kept = {"persist": True}
    for name, outs in (("train", ["models/iedit", "models/losses.csv"]), ("instruct", ["models/instruct_pix2pix"])):
        made[name] = {"cmd": f"{stand_in} {name}", "deps": ["data/training"], "outs": [{out: kept} for out in outs]}
    reports = [f"reports/latest/{name}" for name in ("metrics.json", "table.md", "sheet.png")]
    deps = ["models/iedit", "models/losses.csv", "models/instruct_pix2pix"]
    made["evaluate"] = {"cmd": f"{stand_in} evaluate", "deps": deps, "outs": [{out: kept} for out in reports]}
    return made


def megabytes(path: Path) -> float:
    return round(path.stat().st_blocks * 512 / 1e6 if path.is_file() else 1000 * used_gigabytes([path]), 2)


@contextmanager
def small_disk() -> Iterator[Path]:
    """Mount a disk in memory for this process and its children, and yield a folder on it."""
    user, group, new_user, new_mounts = os.geteuid(), os.getegid(), 0x10000000, 0x00020000
    assert ctypes.CDLL(None).unshare(new_user | new_mounts) == 0, "no mounts of its own are allowed to this process"
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        Path("/proc/self", name).write_text(text)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}m", "tmpfs", folder], check=True)
        try:
            yield Path(folder)
        finally:
            os.chdir("/")
            subprocess.run(["umount", "--lazy", folder], check=True)


def simulate(options: argparse.Namespace) -> list[Night]:
    """Simulate nights, and write each as a line of JSON as soon as it has ended; the log of the last call lies beside."""
    with small_disk() as folder, forks.serving(folder, PRELOADED) as (program, server), options.output.open("w") as file:
        year = Year(folder, program, server, options)
        year.make_project()
        os.chdir(year.project)
        done = []
        for number in range(options.nights):
            done.append(year.night(number))
            file.write(json.dumps(asdict(done[-1])) + "\n")
            file.flush()
    return done


def table(done: list[Night], every: int = 30) -> str:
    """Return what the disk held over the nights as a table in Markdown."""
    names = list(done[0].megabytes)
    lines = [f"| Night | {' | '.join(names)} |", f"|---:|{'---:|' * len(names)}"]
    shown = [night for night in done if night.number % every == 0 or night is done[-1]]
    lines += [f"| {night.number + 1} | {' | '.join(f'{night.megabytes[name]:.1f}' for name in names)} |" for night in shown]
    counts = Counter(what for night in done for what in night.disturbed)
    return "\n".join([*lines, "", f"{len(done)} nights; attempts that failed: {dict(counts)}; champion {done[-1].champion}"])


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulate nightly runs.")
    parser.add_argument("nights", type=int)
    parser.add_argument("--seed", type=int, default=0, help="of the disturbances (default: %(default)s)")
    parser.add_argument("--changed", type=float, default=0.4, help="share of nights with a new picture (default: %(default)s)")
    parser.add_argument("--keep", type=int, default=3, help="how many versions the nights keep (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("nights.jsonl"), help="default: %(default)s")
    options = parser.parse_args()
    options.output = options.output.absolute()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the forks end too
    print(table(simulate(options)))


if __name__ == "__main__":
    main()
