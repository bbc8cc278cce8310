"""A repository in which ablation rows are tried, with a stand-in for the commands that train and score."""

import fcntl
import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from stages.core.composition import apply_choices
from stages.core.paths import EXPERIMENTS, SNAPSHOT
from stages.metrics.table import count_key
from stages.report.ablation_table import SHOWN

WHO = ("-c", "user.name=t", "-c", "user.email=t@localhost")
PLACE = EXPERIMENTS
COUNTS = dict.fromkeys(map(count_key, SHOWN), 300.0)
SCORES = {system: dict.fromkeys(SHOWN, 50.0 + 16 * (system == "iedit_m")) | COUNTS for system in ("iedit", "iedit_m")}


class Killed(BaseException):
    """Stands for a kill: no code of the project can clean up after it."""


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def reference(commit: str, name: str) -> str:
    return f"refs/exps/{commit[:2]}/{commit[2:]}/{name}"


def experiments() -> list[str]:
    return git("for-each-ref", "--format=%(refname:lstrip=4)", "refs/exps").split()


class Work:
    """Stands for the commands: an experiment writes to the sandbox and commits there, and fails where a test says so."""

    def __init__(self, mine: dict[str, str]) -> None:
        self.mine = mine
        """The project's files that must stay as they are, with their contents."""
        self.trained: list[str] = []
        self.scored = 0
        self.fails: dict[int, BaseException] = {}
        self.while_training: Callable[[], object] = lambda: None
        self.status = git("status", "--porcelain")

    def check(self) -> None:
        """Check that the project is as it was."""
        assert {name: Path(name).read_text() for name in self.mine} == self.mine
        assert git("status", "--porcelain") == self.status
        assert git("stash", "list") == ""

    def run(
        self,
        command: list[str],
        *_: object,
        folder: Path | None = None,
        held: Sequence[int] = (),
        environment: object = None,
    ) -> None:
        self.check()
        match command[2:]:
            case ["dvc", "--cd", place, "cache", "dir", *_, cache]:
                assert Path(place) in (PLACE, SNAPSHOT)
                assert Path(cache) == Path(".dvc/cache").absolute()
            case ["dvc", "--cd", place, "checkout", "--quiet", "--force", "--allow-missing"]:
                assert Path(place) == SNAPSHOT
            case ["dvc", "--cd", place, "exp", "run", "--name", name, "-S", chosen, "-S", start, "-S", seed, "train"]:
                assert start == "train.continue_from=base"
                assert f"ablation-{chosen.partition('=')[2]}-{seed.partition('=')[2]}" == name
                assert environment == {"MLFLOW_TRACKING_URI": f"sqlite:///{Path('mlflow.db').absolute()}"}
                assert fcntl.fcntl(held[0], fcntl.F_GETFD) >= 0
                self.train(Path(place), name)
            case ["stages.studies.ablation", "--model", model, file, "iedit", *masked]:
                assert masked in ([], ["iedit_m"])
                assert folder == SNAPSHOT
                assert (folder / "params.yaml").read_text() == self.mine["params.yaml"]
                assert (Path(model) / "weights").read_text() == self.trained[-1]
                self.scored += 1
                Path(file).write_text(json.dumps(SCORES))
            case _:
                pytest.fail(f"{command}")

    def train(self, folder: Path, name: str) -> None:
        for path, content in self.mine.items():
            if "models" not in path and len(self.trained) == 0:
                assert (folder / path).read_text() == content  # uncommitted changes come along, and dvc.lock
        assert not (folder / "gone").exists()
        (folder / "params.yaml").write_text("seed: 4\n")
        (folder / "models" / "iedit").mkdir(parents=True, exist_ok=True)
        (folder / "models" / "iedit" / "weights").write_text(name)
        self.while_training()
        self.trained.append(name)
        if error := self.fails.get(len(self.trained)):
            raise error
        commit = git("-C", str(folder), "rev-parse", "HEAD")
        made = git("-C", str(folder), *WHO, "commit-tree", "-p", "HEAD", "-m", name, "HEAD^{tree}")
        git("-C", str(folder), "update-ref", reference(commit, name), made, "0" * 40)

    def choose(self, *choices: str) -> None:
        """Configure the project, which is expected to stay like that."""
        apply_choices(choices)
        self.mine |= {name: Path(name).read_text() for name in ("params.yaml", "conf/config.yaml")}
        self.status = git("status", "--porcelain")
