"""The objects of DVC's cache that nothing needs any more.

Needed is what the workspace, a sandbox, a branch, a tag or an experiment names, also one that is queued or at work, and what
the records of registered versions name, because ``iedit reproduce`` pulls it and compares with it. In a remote, other clones'
branches need theirs too, as far as git has fetched them.

A search takes minutes, in which experiments end and people work. So folders are locked only while they are read, and what may
have changed is read again before each batch of objects is removed.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.repo.experiments.utils import exp_commits
from dvc.scm import Git, NoSCM
from dvc_data.hashfile.db import HashFileDB, get_index

from stages.core.errors import InputError, first_line
from stages.tracking.workspaces import locked_workspaces

BRANCHES, TAGS, FETCHED = "refs/heads/", "refs/tags/", "refs/remotes/"  # where git names commits
BATCH = 1_000  # objects that are removed, in a second or so, while no experiment can end

Record = Mapping[str, Any]  # the content of a version's lineage.json


@dataclass(frozen=True, kw_only=True)
class Unneeded:
    """Objects that nothing needs, in one place."""

    place: str  # "cache", or the name of a remote
    objects: int
    bytes: int


def find_unneeded(records: Iterable[Record], remote: str | None, *, remove: bool) -> list[Unneeded]:
    """Return how much of DVC's cache, and of a remote, nothing needs any more; remove it if asked.

    Args:
        records: the records of the versions to keep.
        remote: a remote to search besides, which only this project may push to; None searches the cache alone.
        remove: whether to remove it.

    Raises:
        InputError: there is no such remote, or what is needed cannot be determined, for example because a commit's list of
            files is in no cache: nothing was removed. Or DVC cannot remove it: a part may be gone.
    """
    needed = {md5 for record in records for md5 in _digests(record)}
    with _in_one_line("DVC cannot determine what is needed"), Repo() as repo:
        places = _places(repo, remote)
        with _needed_by_workspaces() as named:
            needed |= named
        commits = _commits(repo)  # after the workspaces: an experiment that has ended meanwhile is among these
        others = set() if remote is None else _fetched(repo, remote)
        needed |= _used(repo, [*commits, *others])
        unneeded = {place: _list(odb, needed) for place, odb in places.items()}
        found = [_measure(place, odb, unneeded[place]) for place, odb in places.items()]
        if remove:
            with _in_one_line("DVC cannot remove what nothing needs"):
                for place, odb in places.items():
                    _remove(odb, unneeded[place], commits)
    return found


def cache_folder() -> Path:
    """Return the folder of DVC's local cache.

    Raises:
        InputError: this is no project of DVC.
    """
    with _in_one_line("DVC has no cache here"), Repo() as repo:
        return Path(repo.cache.local_cache_dir)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence what DVC says about every out of a commit without dvc.lock: such a commit needs no data."""
    logger = logging.getLogger("dvc")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _in_one_line(what: str) -> Iterator[None]:
    try:
        yield
    except DvcException as error:
        raise InputError(": ".join([what, *(first_line(each) for each in (error, error.__cause__) if each)])) from error


def _commits(repo: Repo) -> set[str]:
    """Return the commits of all branches, tags and experiments, also of those that wait in a queue."""
    scm = repo.scm
    if isinstance(scm, NoSCM):
        return set()
    return {*_named(scm, BRANCHES), *_named(scm, TAGS), *exp_commits(scm), *repo.experiments.stash_revs}


def _fetched(repo: Repo, remote: str) -> set[str]:
    """Return the commits of the branches that git has fetched from other repositories.

    Raises:
        InputError: git has fetched none of a repository that it knows, so what a remote of DVC has may be needed there.
    """
    scm = repo.scm
    if isinstance(scm, NoSCM):
        return set()
    for other in scm.gitpython.repo.remotes:
        if not _named(scm, f"{FETCHED}{other.name}/"):
            reason = f"no branch of git's remote {other.name} was fetched, which may need what {remote} has; git fetch"
            raise InputError(f"DVC cannot determine what is needed: {reason}")
    return _named(scm, FETCHED)


def _named(scm: Git, place: str) -> set[str]:
    """Return the commits that git has names for in a place such as refs/tags/."""
    return {commit for name in scm.iter_refs(place) if (commit := scm.get_ref(name)) is not None}


def _used(repo: Repo, revs: Sequence[str] = ()) -> set[str]:
    """Return the digests of all data that the workspace and some commits name."""
    with _without_warnings():
        return {str(each.value) for objects in repo.used_objs(revs=revs).values() for each in objects}


@contextmanager
def _needed_by_workspaces() -> Iterator[set[str]]:
    """Yield the digests of what the project's folder and its copies need; none adds to the cache within the block."""
    with locked_workspaces() as workspaces:
        needed: set[str] = set()
        for each in workspaces:
            with _in_one_line(f"DVC cannot determine what is needed: {each.root_dir}"):
                needed |= _used(each)
        yield needed


def _digests(record: Record) -> Iterator[str]:
    """Yield the digests of all outs in a record, and of the files in those that are folders."""
    for outs in record["stages"].values():
        for out in outs.values():
            yield out["md5"]
            yield from out.get("files", {}).values()


def _places(repo: Repo, remote: str | None) -> dict[str, HashFileDB]:
    places = {"cache": repo.cache.local}
    if remote is not None:
        if remote not in (known := repo.config["remote"]):
            raise InputError(f"{remote}: no remote of DVC; there are {', '.join(known) or 'none'}")
        places[remote] = repo.cloud.get_remote_odb(remote, "prune", hash_name="md5")
    return places


def _list(odb: HashFileDB, needed: set[str]) -> list[str]:
    """Return the digests of what is not needed, lists of folders first, so that none is ever left without its files."""
    return sorted((md5 for md5 in odb.all() if md5 not in needed), key=lambda md5: not md5.endswith(".dir"))


def _measure(place: str, odb: HashFileDB, unneeded: list[str]) -> Unneeded:
    sizes = [int(odb.fs.size(odb.oid_to_path(md5)) or 0) for md5 in unneeded]
    return Unneeded(place=place, objects=len(sizes), bytes=sum(sizes))


def _remove(odb: HashFileDB, unneeded: list[str], commits: set[str]) -> None:
    """Remove objects, but for those that have come to be needed since they were found.

    Args:
        odb: the cache, or a remote.
        unneeded: their digests.
        commits: what was known when they were found.
    """
    for start in range(0, len(unneeded), BATCH):
        with _needed_by_workspaces() as named, Repo() as repo:
            new = _commits(repo) - commits
            needed = named | (_used(repo, list(new)) if new else set())
            going = [odb.oid_to_path(md5) for md5 in unneeded[start : start + BATCH] if md5 not in needed]
            if going:
                odb.fs.remove(going)
    get_index(odb).clear()  # DVC remembers there what a remote has
