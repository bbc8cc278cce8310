"""A copy of the project in which experiments run or tables are made, while the project itself may change.

``dvc exp run --temp`` would not do: it stashes uncommitted changes and composes params.yaml in the project itself before it
copies anything, and a killed training's checkpoints are lost with the temporary folder.
"""

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.repo import Repo

from flows.support.tasks import run_logged
from stages.core.errors import InputError, first_line
from stages.core.files import remove, written_aside
from stages.core.local_files import copy_local_files
from stages.core.paths import CONF, LOCK_FILE, PARAMS_FILE
from stages.tracking.data_retention import cache_folder


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """A git and DVC repository with a copy of the project's files; it shares the project's cache."""

    folder: Path
    commit: str
    """The commit that is checked out in the project; DVC lists the experiments below it."""
    lock: int
    """The file descriptor of the lock. Commands of the sandbox hold it too, in case they outlive this process."""
    params: bytes
    """The content of params.yaml, which every experiment starts from and leaves changed."""

    def run_experiment(self, name: str, target: str, chosen: Sequence[str], on_line: Callable[[str], object]) -> None:
        """Run an experiment and add it to those of the project, where it replaces those of the same name, below any commit.

        Its outs are in the folder afterwards. Its stages log to the project's tracking store.

        Args:
            name: the name of the experiment.
            target: the stage to bring up to date, with those that it needs.
            chosen: the changed parameters, each in the form of ``dvc exp run -S``.
            on_line: is called with each line of the output.

        Raises:
            CommandError: the experiment failed.
            InputError: the store cannot be reached.
        """
        from stages.tracking.location import tracking_uri
        from stages.tracking.store import connect

        connect()  # makes the store if there is none
        (self.folder / PARAMS_FILE).write_bytes(self.params)
        reference = f"refs/exps/{self.commit[:2]}/{self.commit[2:]}/{name}"
        git("-C", str(self.folder), "update-ref", "-d", reference)  # left by an attempt that failed afterwards
        options = [word for each in chosen for word in ("-S", each)]
        command = ["dvc", "--cd", str(self.folder), "exp", "run", "--name", name, *options, target]
        self._run(command, on_line, environment={"MLFLOW_TRACKING_URI": tracking_uri()})
        git("fetch", "--quiet", "--no-write-fetch-head", str(self.folder), f"+{reference}:{reference}")
        remove_experiments(name, but=reference)  # of earlier releases

    def check_out(self) -> None:
        """Put the data and models in place that dvc.lock names, as far as the cache has them.

        Raises:
            CommandError: they cannot be put in place.
        """
        self._run(["dvc", "--cd", str(self.folder), "checkout", "--quiet", "--force", "--allow-missing"])

    def run(self, *module: str, on_line: Callable[[str], object] = lambda _: None) -> None:
        """Run a Python module of the sandbox with its arguments, in the sandbox's folder.

        Raises:
            CommandError: the command failed.
        """
        self._run(module, on_line, folder=self.folder)

    def bring_back(self, folder: Path) -> None:
        """Copy a folder that a command wrote to the same place in the project, whole or not at all."""
        with written_aside(folder) as temporary:
            shutil.copytree(self.folder / folder, temporary)

    def _run(self, module: Sequence[str], on_line: Callable[[str], object] = lambda _: None, **where: Any) -> None:
        """Run a module as a command that holds the lock."""
        run_logged([sys.executable, "-m", *module], on_line, held=[self.lock], **where)


@contextmanager
def open_sandbox(folder: Path) -> Iterator[Sandbox]:
    """Make a sandbox from the files that git tracks, uncommitted changes included, conf/ and dvc.lock.

    It is removed when the block ends well. Otherwise the files in it that git ignores stay for the next sandbox, which
    resumes unfinished work; all others are replaced.

    Args:
        folder: one of SANDBOXES, whose data `iedit prune` keeps.

    Raises:
        InputError: another process has it open, or the project is not in a repository with a commit.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"{folder}: in use by another run, or by a process that one left; wait for it to end") from error
        commit = git("rev-parse", "--verify", "HEAD")
        _fill(folder, commit, git("stash", "create") or commit)  # a commit of the changes; the project's files stay as they are
        yield Sandbox(folder=folder, commit=commit, lock=lock.fileno(), params=(folder / PARAMS_FILE).read_bytes())
        remove(folder)


def _fill(folder: Path, commit: str, changed: str) -> None:
    """Check a commit out, with the files as ``changed`` has them, and add those that git may not track."""
    for name in (".git", ".dvc"):
        remove(folder / name)  # a kill may have left them locked, or in the middle of an experiment
    git("init", "--quiet", str(folder))
    objects = Path(git("rev-parse", "--git-path", "objects")).absolute()
    (folder / ".git" / "objects" / "info" / "alternates").write_text(f"{objects}\n", encoding="utf-8")
    here = ("-C", str(folder))
    git(*here, "update-ref", "--no-deref", "HEAD", commit)
    git(*here, "read-tree", "--reset", "-u", changed)
    git(*here, "clean", "--quiet", "--force", "-d")
    copy_local_files(folder)
    shutil.copytree(CONF, folder / CONF, dirs_exist_ok=True)  # the user's own presets may be untracked
    with Repo(_wait_for_lock=True) as repo, repo.lock:  # while DVC holds it, dvc.lock may be half written
        if LOCK_FILE.is_file():
            shutil.copyfile(LOCK_FILE, folder / LOCK_FILE)
    run_logged([sys.executable, "-m", "dvc", "--cd", str(folder), "cache", "dir", "--quiet", "--local", str(cache_folder())])


def remove_experiments(name: str, but: str = "") -> None:
    """Remove the experiments of a name, below any commit, from those of the project; DVC's cache would keep their models.

    Args:
        name: the name of the experiments.
        but: the reference of one that stays.
    """
    for found in git("for-each-ref", "--format=%(refname)", f"refs/exps/*/*/{name}").split():
        if found != but:
            git("update-ref", "-d", found)


def git(*arguments: str) -> str:
    """Run a git command and return its output.

    Raises:
        InputError: it failed.
    """
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"git {' '.join(arguments)}: {first_line(done.stderr)}")
    return done.stdout.strip()
