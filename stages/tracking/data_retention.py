"""The objects of DVC's cache that nothing needs any more.

Needed is what the workspace, a sandbox, a branch, a tag or an experiment names, also one that is queued or at work, and what
the records of registered versions name, because ``iedit reproduce`` pulls it and compares with it.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.scm import NoSCM
from dvc_data.hashfile.db import HashFileDB, get_index
from dvc_data.hashfile.gc import gc
from dvc_data.hashfile.hash_info import HashInfo

from stages.core.errors import InputError, first_line
from stages.core.paths import SANDBOXES

EVERYWHERE = {"all_branches": True, "all_tags": True, "all_experiments": True}
EXPERIMENTS = Path(".dvc/tmp/exps")  # in folders here, or one level below, DVC runs the experiments of its queue

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
    needed = {HashInfo("md5", md5) for record in records for md5 in _digests(record)}
    with _in_one_line("DVC cannot determine what is needed"), _locked_repositories() as (repo, *copies):
        places = _places(repo, remote)
        flags = {} if isinstance(repo.scm, NoSCM) else EVERYWHERE | {"revs": list(repo.experiments.stash_revs)}
        with _without_warnings():
            used = [repo.used_objs(**flags), *(each.used_objs() for each in copies)]
        needed = needed.union(*(objects for each in used for objects in each.values()))
        found = [_measure(place, odb, needed) for place, odb in places.items()]
        if remove:
            with _in_one_line("DVC cannot remove what nothing needs"):
                for odb in places.values():
                    gc(odb, needed)
                    get_index(odb).clear()  # DVC remembers there what a remote has
    return found


def cache_folder() -> Path:
    """Return the folder of DVC's local cache.

    Raises:
        InputError: this is no project of DVC.
    """
    with _in_one_line("DVC has no cache here"), Repo() as repo:
        return Path(repo.cache.local_cache_dir)


@contextmanager
def _locked_repositories() -> Iterator[list[Repo]]:
    """Yield the project and its copies, none of which adds to the cache within the block; a command that tries fails."""
    copies = [*SANDBOXES, *sorted(EXPERIMENTS.glob("*")), *sorted(EXPERIMENTS.glob("*/*"))]
    with ExitStack() as stack:
        folders = [Path(), *(folder for folder in copies if (folder / ".dvc").is_dir())]
        repositories = [stack.enter_context(Repo(str(folder))) for folder in folders]
        for each in repositories:
            stack.enter_context(each.lock)
        yield repositories


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


def _measure(place: str, odb: HashFileDB, needed: set[HashInfo]) -> Unneeded:
    values = {each.value for each in needed}
    paths = [odb.oid_to_path(digest) for digest in odb.all() if digest not in values]
    return Unneeded(place=place, objects=len(paths), bytes=sum(int(odb.fs.size(path) or 0) for path in paths))
