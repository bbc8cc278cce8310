"""A copy of the project in which experiments are run, so that nothing of the project itself changes meanwhile.

``dvc exp run --temp`` would not do. It stashes what is not committed and composes params.yaml in the folder itself before
it copies anything, and what a training had done when it was killed goes with the temporary folder.
"""

import fcntl
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.support.dag import cache_folder
from flows.support.tasks import run_logged
from stages.core.errors import InputError, first_line
from stages.core.files import remove


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """A repository of git and DVC that has the files of the project as they were, and shares the project's cache."""

    folder: Path
    commit: str
    """The one that is checked out in the project; DVC shows the experiments below it."""
    lock: int
    """The descriptor of the lock. What is run with it holds the lock as well, should it outlive this process."""

    def run_experiment(self, name: str, target: str, chosen: Sequence[str], on_line: Callable[[str], object]) -> None:
        """Run an experiment, and put it among those of the project, in the place of one of the same name.

        Its outs are in the folder afterwards. What its stages log goes to the store of the project.

        Args:
            name: of the experiment.
            target: the stage that is brought up to date, with all that it needs.
            chosen: what it changes, each as ``dvc exp run -S`` has it.
            on_line: is given each line of the output.

        Raises:
            CommandError: the experiment failed.
            InputError: the store cannot be reached.
        """
        from stages.tracking.store import connect, tracking_uri

        connect()  # makes the store where there is none
        reference = f"refs/exps/{self.commit[:2]}/{self.commit[2:]}/{name}"
        git("-C", str(self.folder), "update-ref", "-d", reference)  # of an attempt that failed after it
        options = [word for each in chosen for word in ("-S", each)]
        command = ["dvc", "--cd", str(self.folder), "exp", "run", "--name", name, *options, target]
        self.run(*command, on_line=on_line, MLFLOW_TRACKING_URI=tracking_uri())
        git("fetch", "--quiet", "--no-write-fetch-head", str(self.folder), f"+{reference}:{reference}")

    def run(self, *module: str, on_line: Callable[[str], object] = lambda _: None, **environment: str) -> None:
        """Run a module of Python with its arguments, in the folder of the project, as a command that needs the sandbox.

        Raises:
            CommandError: the command failed.
        """
        run_logged([sys.executable, "-m", *module], on_line, environment=environment, held=[self.lock])


@contextmanager
def open_sandbox(folder: Path) -> Iterator[Sandbox]:
    """Make a sandbox for the block, of all that git tracks, changes that are not committed included.

    It is removed when the block ends well. Else what git ignores in it is there for the next one, which goes on with an
    unfinished training. All else of it is made anew.

    Raises:
        InputError: another process has it open, or the project is in no repository with a commit.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"{folder}: another run, or what is left of it, is at work there; wait for it to end") from error
        commit = git("rev-parse", "--verify", "HEAD")
        _fill(folder, commit, git("stash", "create") or commit)  # a commit of the changes, which are left as they are
        yield Sandbox(folder=folder, commit=commit, lock=lock.fileno())
        remove(folder)


def _fill(folder: Path, commit: str, changed: str) -> None:
    """Check a commit out, and have the files as ``changed`` has them."""
    from stages.cli.clone import copy_local_files

    for name in (".git", ".dvc"):
        remove(folder / name)  # a kill may have left them locked, or amid an experiment
    git("init", "--quiet", str(folder))
    objects = Path(git("rev-parse", "--git-path", "objects")).absolute()
    (folder / ".git" / "objects" / "info" / "alternates").write_text(f"{objects}\n", encoding="utf-8")
    here = ("-C", str(folder))
    git(*here, "update-ref", "--no-deref", "HEAD", commit)
    git(*here, "read-tree", "--reset", "-u", changed)
    git(*here, "clean", "--quiet", "--force", "-d")
    copy_local_files(folder)
    run_logged([sys.executable, "-m", "dvc", "--cd", str(folder), "cache", "dir", "--quiet", "--local", str(cache_folder())])


def git(*arguments: str) -> str:
    """Run a command of git and return what it says.

    Raises:
        InputError: it failed.
    """
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"git {' '.join(arguments)}: {first_line(done.stderr)}")
    return done.stdout.strip()
