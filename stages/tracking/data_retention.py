"""The objects of DVC's cache that nothing needs any more.

Needed is what a workspace, a sandbox, a branch, a tag, a stash, the HEAD of a worktree or an experiment names, also one that is
queued or at work, and what links in a workspace lead to; and what the records of registered versions name, because
``iedit reproduce`` pulls it and compares with it.
In a remote, other clones' branches need theirs too, as far as git has fetched them.

Of other projects nothing is known here. So a cache outside of the project's folder is left as it is, unless params.yaml says
that it is this project's alone, and from a remote nothing goes that this project's cache does not have, but for the copies of
files that a full disk or a kill has cut off a day ago.

A search takes minutes, in which experiments end and people work. So folders are locked only while they are read, and what may
have changed is read again before each batch of objects is removed.
"""

import logging
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.repo import Repo
from dvc_data.hashfile.db import HashFileDB, get_index
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.tree import Tree
from dvc_objects.errors import ObjectFormatError
from dvc_objects.fs.local import LocalFileSystem
from ruamel.yaml import YAML

from stages.core.errors import InputError, first_line
from stages.core.files import NoRoomError, lack_of_room
from stages.tracking.named_commits import UNKNOWN, SharedRemoteError, fetched_commits, named_commits, stashed_files
from stages.tracking.record import Record, digests_of
from stages.tracking.workspaces import locked_workspaces

CACHE = "cache"  # as a place; all others are remotes
DEFECTS = ("builtins", "stages")  # modules whose errors are none of a library
UNFINISHED = re.compile(r"[0-9a-f]{2}\.[\w-]{22}\.tmp")  # DVC's name of a copy until it is whole, beside the objects
STALE = 24 * 3600  # seconds after which nobody copies a file any more
BATCH = 1_000  # objects that are removed, in a second or so, while no experiment can end


@dataclass(frozen=True, kw_only=True)
class Unneeded:
    """Objects that nothing needs, in one place."""

    place: str  # CACHE, or the name of a remote
    sizes: dict[str, int]  # digest → bytes

    @property
    def bytes(self) -> int:
        """How many bytes they take."""
        return sum(self.sizes.values())


@dataclass(frozen=True, kw_only=True)
class Search:
    """What was found: the objects that only a record may need, in all places that are this project's."""

    remote: str | None
    spared: str | None  # the default remote, to which data are pushed, if it is not searched
    left: list[str]  # what is not searched or not removed, and why, a line each
    commits: set[str]  # those that were known
    unnamed: dict[str, dict[str, int]]  # place → digest that neither a workspace nor a commit names → bytes

    def unneeded(self, records: Iterable[Record]) -> list[Unneeded]:
        """Return the objects that nothing needs.

        Args:
            records: those of the versions that stay.
        """
        needed = {md5 for record in records for md5 in digests_of(record)}
        return [
            Unneeded(place=place, sizes={md5: size for md5, size in unnamed.items() if md5 not in needed})
            for place, unnamed in self.unnamed.items()
        ]

    def remove(self, unneeded: Iterable[Unneeded]) -> list[Unneeded]:
        """Remove objects, but for those that have come to be needed since they were found; return what is removed.

        Raises:
            InputError: DVC cannot remove them, or not determine any more what is needed: a part may be gone.
        """
        removed = []
        with in_one_line("DVC cannot remove what nothing needs"), Repo() as repo:
            places = _places(repo, self.remote)
            # The cache last: what it does not have stays in the remote.
            for found in sorted(unneeded, key=lambda each: each.place == CACHE):
                removed.append(_remove(places[found.place], found, self.commits))
                for md5 in removed[-1].sizes:
                    del self.unnamed[found.place][md5]
            for odb in places.values():  # now that there is room on a full disk
                get_index(odb).clear()  # where DVC remembers what a remote has
        return removed[::-1]


def search(remote: str | None = None, *, own_cache: bool = False) -> Search:
    """Search DVC's cache, and a remote, for objects that neither a workspace nor a commit needs.

    Args:
        remote: a remote to search besides; None searches the cache alone.
        own_cache: whether a cache that lies outside of the project's folder is this project's alone.

    Raises:
        InputError: there is no such remote, or what is needed cannot be determined, for example because a commit's list
            of files is in no cache.
    """
    with in_one_line(UNKNOWN), Repo() as repo:
        places = _places(repo, remote)
        default = repo.config["core"].get("remote")
        spared = None if default == remote else default
        if not own_cache and not _is_inside(repo):
            why = "it lies outside of the project's folder, where other projects may use it; see upkeep.own_cache"
            left = [f"the cache {repo.cache.local.path} is left: {why}"]
            if remote is not None:
                left.append(f"the remote {remote} is left: without the cache, nothing tells what in it is this project's")
            return Search(remote=remote, spared=spared, left=left, commits=set(), unnamed={})
        with _needed_by_workspaces() as named:
            needed = set(named)
        commits = named_commits(repo)  # after the workspaces: an experiment that has ended meanwhile is among these
        left = []
        others: set[str] = set()
        if remote is not None:
            try:
                others = fetched_commits(repo, remote)
            except SharedRemoteError as error:
                left.append(f"the remote {remote} is left: {error}")
                del places[remote]
                remote = None
        needed |= _used(repo, [*commits, *others]) | _stashed(repo)
        stored = {name: set(odb.all()) for name, odb in places.items()}
        sizes = _measure(repo.cache.local, stored[CACHE] - needed)
        if remote is not None:
            unfinished = set(filter(UNFINISHED.fullmatch, stored[remote]))
            stored[remote] -= unfinished
            stale = _stale(places[remote], unfinished)
    unnamed = {name: {md5: sizes[md5] for md5 in digests & sizes.keys()} for name, digests in stored.items()}
    if remote is not None:
        unnamed[remote] |= stale
        if foreign := stored[remote] - stored[CACHE] - needed:
            why = "this cache does not have them, so others may have pushed them"
            left.append(f"{len(foreign):,} objects in {remote} are left: {why}")
    return Search(remote=remote, spared=spared, left=left, commits=commits, unnamed=unnamed)


def cache_folder() -> Path:
    """Return the folder of DVC's local cache.

    Raises:
        InputError: this is no project of DVC.
    """
    with in_one_line("DVC has no cache here"), Repo() as repo:
        return Path(repo.cache.local_cache_dir)


def _is_inside(repo: Repo) -> bool:
    """Return whether DVC's cache lies in the project's folder, links followed."""
    return Path(repo.cache.local.path).resolve().is_relative_to(Path(repo.root_dir).resolve())


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
def in_one_line(what: str) -> Iterator[None]:
    """Name what could not be done in front of the reason.

    Raises:
        NoRoomError: the disk or a quota is full.
        InputError: for any other error of the system, of DVC, or of the library by which it reaches a remote, which may
            be missing.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError | ImportError) and type(error).__module__.partition(".")[0] in DEFECTS:
            raise
        message = ": ".join([what, *(first_line(each) for each in (error, error.__cause__) if each)])
        raise (InputError if lack_of_room(error) is None else NoRoomError)(message) from error


def _used(repo: Repo, revs: Sequence[str] = ()) -> set[str]:
    """Return the digests of all data that the workspace and some commits name."""
    with _without_warnings():
        return {str(each.value) for objects in repo.used_objs(revs=revs).values() for each in objects}


def _stashed(repo: Repo) -> set[str]:
    """Return the digests of all data that the untracked files in stashes name.

    Raises:
        InputError: one of the files is damaged, or a list of files that it names is not in the cache.
    """
    needed: set[str] = set()
    for name, text in stashed_files(repo):
        try:
            content: dict[str, Any] = YAML(typ="safe").load(text)
            entries = [content, *content.get("stages", {}).values()]
            digests = [str(out["md5"]) for entry in entries for out in entry.get("outs", [])]
            needed.update(digests)
            for folder in filter(lambda md5: md5.endswith(".dir"), digests):
                tree = Tree.load(repo.cache.local, HashInfo("md5", folder))
                needed.update(str(entry["md5"]) for entry in tree.as_list())
        except (LookupError, TypeError, AttributeError, ValueError, OSError, ObjectFormatError) as error:
            raise InputError(f"{UNKNOWN}: the stash {name}: {first_line(error)}") from error
    return needed


@contextmanager
def _needed_by_workspaces() -> Iterator[set[str]]:
    """Yield the digests of what the project's folder and its copies need; none adds to the cache within the block."""
    with locked_workspaces() as workspaces:
        needed: set[str] = set()
        for each in workspaces:
            with in_one_line(f"{UNKNOWN}: {each.root_dir}"):
                needed |= _used(each) | _linked(each)
        yield needed


def _linked(repo: Repo) -> set[str]:
    """Return the digests of the objects in the cache that links in place of a workspace's outs lead to.

    With ``cache.type=symlink`` the object is all that there is of a file, also where dvc.lock does not name it: DVC links what
    a stage has made before it writes there, and a damaged dvc.lock is put aside.
    """
    cache = Path(repo.cache.local.path).resolve()
    outs = [out.fs_path for out in repo.index.outs if out.is_in_repo]
    below = (os.path.join(place, name) for out in outs for place, _, names in os.walk(out) for name in names)  # noqa: PTH118
    targets = [Path(os.path.realpath(path)) for path in (*outs, *below) if os.path.islink(path)]  # noqa: PTH114
    return {target.parent.name + target.name for target in targets if target.parent.parent == cache}


def _places(repo: Repo, remote: str | None) -> dict[str, HashFileDB]:
    places = {CACHE: repo.cache.local}
    if remote is not None:
        if remote not in (known := repo.config["remote"]):
            raise InputError(f"{remote}: no remote of DVC; there are {', '.join(known) or 'none'}")
        places[remote] = repo.cloud.get_remote_odb(remote, "prune", hash_name="md5")
    return places


def _measure(odb: HashFileDB, digests: Iterable[str]) -> dict[str, int]:
    return {md5: int(odb.fs.size(odb.oid_to_path(md5)) or 0) for md5 in digests}


def _stale(odb: HashFileDB, unfinished: Iterable[str]) -> dict[str, int]:
    """Return copies in a folder of this machine that nobody has written to for STALE seconds, and their sizes in bytes.

    Elsewhere DVC makes none. A copy may come to its end, and have another name, at any time.
    """
    found: dict[str, int] = {}
    if not isinstance(odb.fs, LocalFileSystem):
        return found
    limit = time.time() - STALE
    for name in unfinished:
        with suppress(FileNotFoundError):
            status = Path(odb.oid_to_path(name)).stat()
            if status.st_mtime < limit:
                found[name] = status.st_size
    return found


def _remove(odb: HashFileDB, found: Unneeded, commits: set[str]) -> Unneeded:
    """Remove objects, but for those that have come to be needed since they were found; return what is removed.

    Lists of folders go first, so that none is ever left without its files.

    Args:
        odb: the cache, or a remote.
        found: the objects.
        commits: what was known when they were found.
    """
    removed: dict[str, int] = {}
    waiting = sorted(found.sizes, key=lambda md5: not md5.endswith(".dir"))
    for start in range(0, len(waiting), BATCH):
        with _needed_by_workspaces() as named, Repo() as repo:
            new = named_commits(repo) - commits
            needed = named | (_used(repo, list(new)) | _stashed(repo) if new else set())
            going = [md5 for md5 in waiting[start : start + BATCH] if md5 not in needed]
            if going:
                odb.fs.remove([odb.oid_to_path(md5) for md5 in going])
                removed |= {md5: found.sizes[md5] for md5 in going}
    return Unneeded(place=found.place, sizes=removed)
