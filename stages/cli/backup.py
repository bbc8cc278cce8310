"""``iedit backup`` and ``iedit restore``: the registry and the state of a project as one file.

The data of the stages are not in it: DVC's remote has them, by the digests in dvc.lock and in the records of the versions.
Nor are downloaded pictures, which no remote has: they may be most of the disk, and can be fetched again.
"""

import argparse
import os
import shutil
import sqlite3
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from stages.core.archive import FILES, extract_archive, write_archive
from stages.core.errors import InputError, first_line
from stages.core.files import NoRoomError, file_digest, lack_of_room, remove, written_aside
from stages.core.paths import CONF, DEPLOYMENTS, DVC_CONFIG, LAST_STORE, LOCK_FILE, LOGS, PARAMS_FILE, PREFERENCES, SEEN
from stages.core.run import alone
from stages.tracking.location import ARTIFACTS, DATABASE

SERVERS = Path(".servers")  # where `make server` keeps the servers' state
DATABASES = (DATABASE, SERVERS / "mlflow/mlflow.db", SERVERS / "prefect/prefect.db")
FOLDERS = (ARTIFACTS, SERVERS / "mlflow/artifacts", PREFERENCES, CONF)
SINGLE = (LOCK_FILE, PARAMS_FILE, DVC_CONFIG, DEPLOYMENTS, LAST_STORE, SEEN)
CONTENT = (*DATABASES, *FOLDERS, *SINGLE)
BESIDE = ("-journal", "-wal", "-shm")  # suffixes of files that SQLite would apply to a database of that name
CHECKPOINTS = ("artifacts", "checkpoints")  # of ended trainings: nothing needs them
SNAPSHOTS, EXTRACTED = LOGS / "backup", LOGS / "restore"
MEGABYTE = 1_000_000


def backup(options: argparse.Namespace) -> None:
    """Write registry and state of the project in this folder to one file, and print what is in it.

    It waits for a stage that is at work. Servers may run. What lies behind a symbolic link is in it too.

    Raises:
        InputError: there is no registry and no server's database here, a link leads nowhere, or the file cannot be written, or
            is there already and no backup.
        NoRoomError: the disk or a quota is full.
    """
    databases = [path for path in DATABASES if path.is_file()]
    if not databases:
        raise InputError(f"{DATABASE}: no such file, nor a server's database in {SERVERS}: there is nothing to back up here")
    if options.file.is_dir() or not options.file.absolute().parent.is_dir():
        raise InputError(f"{options.file}: must name a file, in a folder that exists")
    if options.file.exists() and not _may_be_replaced(options.file):
        raise InputError(f"{options.file}: is there already, and no backup that this one could replace")
    with alone("iedit backup"), _errors_in_one_line(options.file):
        _check_links()
        remove(SNAPSHOTS)  # of a backup that was killed
        SNAPSHOTS.mkdir(mode=0o700, parents=True)  # databases hold secrets
        try:
            # Databases first: what they name was written before, and nothing prunes meanwhile.
            files = {path.as_posix(): _snapshot(path) for path in databases}
            kept = [path for path in SINGLE if path.is_file()] + [path for folder in FOLDERS for path in _files_in(folder)]
            files |= {path.as_posix(): path for path in kept}
            facts = {"made": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "commit": _git("rev-parse", "HEAD").strip()}
            write_archive(options.file, files, facts)
        finally:
            remove(SNAPSHOTS)
    for path in CONTENT:
        found = [name for name in files if Path(name).is_relative_to(path)]
        if found:
            print(f"{path.as_posix():24} {len(found)} file{'s' * (len(found) > 1)}")
    print(f"{options.file}: {options.file.stat().st_size / MEGABYTE:,.1f} MB; the data are not in it: dvc push")
    if os.environ.get("MLFLOW_TRACKING_URI") and SERVERS / "mlflow/mlflow.db" not in databases:
        print("the tracking server of MLFLOW_TRACKING_URI keeps its state elsewhere: back it up there")


def restore(options: argparse.Namespace) -> None:
    """Put the files of a backup into this folder, a clone in which nothing has run.

    Nothing is replaced that git could not give back. A restore that was interrupted is completed by repeating it: the
    databases come last, and what is there already has the bytes of the backup.

    Raises:
        InputError: the backup is damaged, or a file of another state is in its way: nothing was restored; or a file cannot be
            written.
        NoRoomError: the disk or a quota is full.
    """
    with alone("iedit restore", wait=False), _errors_in_one_line(options.file):
        manifest = extract_archive(options.file, EXTRACTED)
        names = sorted(manifest[FILES], key=lambda name: (Path(name) in DATABASES, name))
        if strange := [name for name in names if not any(Path(name).is_relative_to(path) for path in CONTENT)]:
            remove(EXTRACTED)
            raise InputError(f"{options.file}: no backup of this project: it holds {strange[0]}")
        if lost := _would_be_lost(names):
            remove(EXTRACTED)
            raise InputError(f"{lost[0]}: is here already, with other content; restore into a clone in which nothing has run")
        for name in names:
            with written_aside(Path(name)) as temporary:
                shutil.move(EXTRACTED / name, temporary)  # EXTRACTED may lie on another disk
        remove(EXTRACTED)
    print(f"{len(names)} files, as they were at {manifest['made']}; dvc pull brings the data")
    if manifest["commit"] != _git("rev-parse", "HEAD").strip():
        print(f"the code was at commit {manifest['commit'] or 'unknown'} then, and is at another one now")


def _may_be_replaced(path: Path) -> bool:
    return path.is_file() and (path.stat().st_size == 0 or tarfile.is_tarfile(path))


@contextmanager
def _errors_in_one_line(file: Path) -> Iterator[None]:
    """Turn an error of the system, such as a missing permission, into an InputError that names the backup."""
    try:
        yield
    except NoRoomError:
        raise
    except OSError as error:
        raise InputError(f"{file}: {first_line(error)}") from error


def _snapshot(database: Path) -> Path:
    """Copy a database by SQLite's own means, which also copes with one that is being written to."""
    copy = SNAPSHOTS / database
    copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
    except sqlite3.Error as error:
        kind = InputError if lack_of_room(error) is None else NoRoomError
        raise kind(f"{database}: cannot be copied: {error}") from error
    return copy


def _check_links() -> None:
    """Check that no link leads nowhere: the disk may be away that holds what belongs into the backup."""
    for path in CONTENT:
        for each in (path, *_walk(path)):
            if each.is_symlink() and not each.exists():
                raise InputError(f"{each}: leads to {each.readlink()}, which is not there, so a backup would lack it")


def _files_in(folder: Path) -> Iterator[Path]:
    for path in _walk(folder):
        if path.is_file() and CHECKPOINTS not in pairwise(path.relative_to(folder).parts):
            yield path


def _walk(folder: Path) -> Iterator[Path]:
    """Yield what lies below a folder, apart from folders; links are followed, but none to a folder that it lies in."""
    for place, folders, names in os.walk(folder, followlinks=True):
        here = Path(place)
        folders[:] = sorted(name for name in folders if not (here / name).is_symlink() or not _leads_back(here / name))
        yield from (here / name for name in sorted(names))


def _leads_back(link: Path) -> bool:
    """Return whether a link leads to a folder in which it lies, seen from either side of the links on the way to it."""
    around = {folder for each in link.parents for folder in (each.resolve(), *each.resolve().parents)}
    return link.resolve() in around


def _would_be_lost(names: Sequence[str]) -> list[str]:
    """Return the files that are here with other content than in EXTRACTED, and not as the commit has them.

    So are those that SQLite has left beside a database that was removed: it would apply them to the one that comes.
    """
    applied = [f"{path}{suffix}" for path in DATABASES if path.as_posix() in names for suffix in BESIDE]
    if found := [name for name in applied if Path(name).exists()]:
        return found
    here = [name for name in names if Path(name).exists() and file_digest(Path(name)) != file_digest(EXTRACTED / name)]
    if not here:
        return []
    tracked = _git("ls-files", "-z", "--", *here).split("\0")
    changed = _git("diff", "HEAD", "-z", "--name-only", "--relative", "--", *here).split("\0")
    return sorted(set(here) - (set(tracked) - set(changed)))


def _git(*arguments: str) -> str:
    """Return what git prints; nothing outside of a repository."""
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False).stdout
