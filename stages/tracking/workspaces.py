"""The folders that add to the project's cache of DVC: its own, git's other worktrees, and copies for tables and experiments."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo

from stages.core.errors import InputError, first_line
from stages.core.paths import SANDBOXES

EXPERIMENTS = Path(".dvc/tmp/exps")  # in folders here, or one level below, DVC runs experiments; it removes them afterwards
WORKTREE = b"worktree "  # in front of its folder, where git lists it
SILENT = 7 * 24 * 3600  # seconds; a training writes checkpoints more often


def left_over() -> list[Path]:
    """Return the copies of experiments that a kill has left: nothing was written there for a week."""
    return [copy for copy in _experiments() if not _is_at_work(copy)]


@contextmanager
def locked_workspaces() -> Iterator[list[Repo]]:
    """Yield the project, its worktrees and all copies but those that are left over; none adds to the cache within the block.

    A command of DVC waits three seconds for the lock of its folder and fails then, at the end of a training too.

    Raises:
        InputError: DVC cannot read a folder, or a command is at work there just now.
    """
    with ExitStack() as stack:
        copies = [*SANDBOXES, *_worktrees(), *filter(_is_at_work, _experiments())]
        folders = [Path(), *filter(_is_of_dvc, copies)]
        yield [repo for folder in folders if (repo := _lock(folder, stack)) is not None]


def _lock(folder: Path, stack: ExitStack) -> Repo | None:
    """Return the repository in a folder, locked until the stack ends, or None if an experiment has ended there meanwhile."""
    try:
        repo = stack.enter_context(Repo(str(folder)))
        stack.enter_context(repo.lock)
    except (DvcException, FileNotFoundError) as error:
        if not folder.exists():
            return None
        raise InputError(f"DVC cannot determine what is needed: {folder.absolute()}: {first_line(error)}") from error
    return repo


def _is_of_dvc(folder: Path) -> bool:
    return (folder / Repo.DVC_DIR).is_dir()


def _worktrees() -> list[Path]:
    """Return the project's folder in git's other worktrees; one whose disk is away is left out."""
    lines = subprocess.run(["git", "worktree", "list", "--porcelain"], capture_output=True, check=False).stdout.split(b"\n")
    places = [Path(os.fsdecode(line.removeprefix(WORKTREE))) for line in lines if line.startswith(WORKTREE)]
    here = Path.cwd().resolve()
    around = [place for place in places if here.is_relative_to(place.resolve())]
    if not around:  # no repository of git
        return []
    own = max(around, key=lambda place: len(place.parts))  # one may lie in another
    return [place / here.relative_to(own.resolve()) for place in places if place != own]


def _experiments() -> list[Path]:
    found = [*EXPERIMENTS.glob("*"), *EXPERIMENTS.glob("*/*")]
    return sorted(filter(_is_of_dvc, found))


def _is_at_work(copy: Path) -> bool:
    """Return whether anything was written in a copy lately, apart from what reading it with DVC writes."""
    limit = time.time() - SILENT
    for place, folders, names in os.walk(copy):
        if Repo.DVC_DIR in folders:
            folders.remove(Repo.DVC_DIR)
        for path in (Path(place), *(Path(place, name) for name in names)):
            with suppress(FileNotFoundError):
                if path.lstat().st_mtime > limit:
                    return True
    return False
