"""The commits that git has names for, whose data DVC must keep.

Branches, tags, experiments and stashes name commits, and so does the HEAD of every worktree, detached or not.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from dvc.config import Config
from dvc.fs import GitFileSystem
from dvc.repo import Repo
from dvc.repo.experiments.utils import exp_commits
from dvc.scm import NoSCM

from stages.core.errors import InputError, first_line
from stages.core.paths import DVC_CONFIG, LOCK_FILE

FETCHED = "refs/remotes/"  # where git keeps the branches of other repositories
UNKNOWN = "DVC cannot determine what is needed"
MERGING = "MERGE_AUTOSTASH"  # changes that a merge, as `make upgrade`, has put aside; a kill leaves them there
ADDED = ".dvc"  # suffix of the files in which `dvc add` writes what it has cached


class SharedRemoteError(InputError):
    """Other clones may need what a remote of DVC has, and what they need is not known here."""


def named_commits(repo: Repo) -> set[str]:
    """Return the commits that this repository has names for, also those of experiments that wait in a queue.

    Raises:
        InputError: git cannot list them.
    """
    if isinstance(repo.scm, NoSCM):
        return set()
    named = _lines("rev-list", "--no-walk", "--ignore-missing", f"--exclude={FETCHED}*", "--all", MERGING)  # all HEADs too
    stashed = [commit for stash, *parents in _stashes() for commit in (stash, *parents[:2])]
    return {*named, *stashed, *exp_commits(repo.scm), *repo.experiments.stash_revs}


def fetched_commits(repo: Repo, remote: str) -> set[str]:
    """Return the commits of the branches that git has fetched from other repositories.

    Args:
        repo: the repository.
        remote: the remote of DVC that is to be pruned.

    Raises:
        SharedRemoteError: git has fetched none of a repository that it knows, or a fetched branch names this remote too.
        InputError: git cannot list them.
    """
    if isinstance(repo.scm, NoSCM):
        return set()
    for other in _lines("remote"):
        if not _lines("for-each-ref", f"{FETCHED}{other}/"):
            raise SharedRemoteError(f"no branch of git's remote {other} was fetched, which may need what it has; git fetch")
    for branch in _lines("for-each-ref", "--format=%(refname)", FETCHED):
        if repo.config["remote"][remote]["url"] in _addresses(repo, branch):
            reason = f"{branch.removeprefix(FETCHED)} names it too, so clones push to it"
            raise SharedRemoteError(f"{reason}; prune one that only this project pushes to: dvc remote add --local")
    return set(_lines("rev-list", "--no-walk", "--remotes"))


def stashed_files(repo: Repo) -> Iterator[tuple[str, str]]:
    """Yield name and content of DVC's files in the stashes that hold untracked files, as dvc.lock usually is.

    They are in a commit of their own, without the dvc.yaml that DVC would read them with.
    """
    if isinstance(repo.scm, NoSCM):
        return
    for _, *parents in _stashes():
        for commit in parents[2:]:
            for path in _git("ls-tree", "-r", "-z", "--name-only", "--full-tree", commit).split("\0"):
                if Path(path).name == LOCK_FILE.name or path.endswith(ADDED):
                    yield f"{commit}:{path}", _git("cat-file", "blob", f"{commit}:{path}")


def _stashes() -> list[list[str]]:
    """Return of every stash its commit, the commit below, that of the index and, if it has some, that of untracked files."""
    return [line.split() for line in _lines("stash", "list", "--format=%H %P")]


def _addresses(repo: Repo, branch: str) -> set[str]:
    """Return the addresses of the remotes that the configuration of a branch names, as they are read here."""
    fs = GitFileSystem(scm=repo.scm, rev=branch)
    path = fs.join("/", *Path(repo.root_dir).relative_to(repo.scm.root_dir).parts, *DVC_CONFIG.parts)
    if not fs.exists(path):
        return set()
    urls = [str(remote["url"]) for remote in Config.load_file(path, fs=fs).get("remote", {}).values()]
    here = Path(repo.dvc_dir)
    return {url if "://" in url else os.path.normpath(here / Path(url).expanduser()) for url in urls}


def _lines(*arguments: str) -> list[str]:
    return _git(*arguments).splitlines()


def _git(*arguments: str) -> str:
    """Return what git prints.

    Raises:
        InputError: it failed.
    """
    done = subprocess.run(["git", *arguments], capture_output=True, encoding="utf-8", errors="surrogateescape", check=False)
    if done.returncode:
        raise InputError(f"{UNKNOWN}: git {arguments[0]}: {first_line(done.stderr)}")
    return done.stdout
