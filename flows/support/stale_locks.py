"""Locks of DVC that outlived the process which held them."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
from dvc.fs import localfs
from dvc.repo import Repo
from dvc.rwlock import RWLOCK_FILE, RWLockFileCorruptedError, RWLockFileFormatError, _edit_rwlock

# In seconds. A process starts before it writes its lock; the clocks of processes and files differ by less than this.
CLOCK_DIFFERENCE = 2


def release_stale_locks() -> list[str]:
    """Release DVC's locks of files whose holder has ended though another process has its id now; return what held them.

    DVC releases the lock of a process id that nobody has. An id that was given away again, as happens soon in a
    container, would block every run until somebody removed the file of locks. The id belongs to another process if that
    one runs another command than the one that took the lock. Of code without a name only the time tells: it belongs to
    another one if that started after the file was written last.

    So would a damaged file, which DVC leaves when it is killed, or the disk is full, while it writes there. It is removed.

    Returns:
        A line for each holder: its process id and its command.

    Raises:
        LockError: another command edits the file of locks and does not end.
    """
    with Repo() as repo:
        folder, hardlink = str(repo.tmp_dir), bool(repo.config["core"].get("hardlink_lock"))
    file = Path(folder) / RWLOCK_FILE
    if not file.is_file():
        return []
    written = file.stat().st_mtime
    try:
        with _edit_rwlock(folder, localfs, hardlink) as locks:
            stale = _release(locks, written)
    except (RWLockFileCorruptedError, RWLockFileFormatError):
        file.unlink()
        return [f"unknown, because {file} was damaged"]
    return sorted({f"process {holder['pid']}, {holder['cmd']}" for holder in stale})


def _release(locks: dict[str, Any], written: float) -> list[Mapping[str, Any]]:
    """Remove the locks whose holders have ended from the content of the file of locks, and return these holders."""
    holders = [*locks["write"].values(), *(holder for readers in locks["read"].values() for holder in readers)]
    stale = [holder for holder in holders if _has_ended(holder, written)]
    if stale:
        locks["write"] = {path: holder for path, holder in locks["write"].items() if holder not in stale}
        kept = {path: [each for each in readers if each not in stale] for path, readers in locks["read"].items()}
        locks["read"] = {path: readers for path, readers in kept.items() if readers}
    return stale


def _has_ended(holder: Mapping[str, Any], written: float) -> bool:
    """Return whether the process that took a lock is surely not the one that has its id now.

    Args:
        holder: its process id and its command, which is ``sys.argv`` joined by spaces.
        written: when the file of locks was written last, in seconds since the epoch.
    """
    try:
        process = psutil.Process(holder["pid"])
        words, command = process.cmdline(), holder["cmd"]
        if _runs(words, command):
            return False  # whenever it started: a step of the clock moves the start of all processes
        return not _is_nameless(words, command) or process.create_time() > written + CLOCK_DIFFERENCE
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:  # a process of another user, about which nothing is known
        return False


def _is_nameless(words: Sequence[str], command: str) -> bool:
    """Return whether a process, or the holder of a lock, ran code that its command line does not name.

    The code may have been typed, or given with ``-c``, as to the processes of ``multiprocessing``, whose ``sys.argv`` is that
    of their parent.

    Args:
        words: the process's command line, split into words.
        command: the lock holder's command line.
    """
    return "-c" in words or not command or command.startswith("-")


def _runs(words: Sequence[str], command: str) -> bool:
    """Return whether a process runs a command.

    Args:
        words: of its command line: the interpreter with its options, then a script or ``-m`` and a module, then arguments.
        command: ``sys.argv`` joined by spaces: the path of the script or of the module's file, then arguments.
    """
    for place, (before, named) in enumerate(pairwise(["", *words]), start=1):
        arguments = "".join(f" {word}" for word in words[place:])
        program = command.removesuffix(arguments)
        module = named.replace(".", "/")
        is_named = program.endswith((f"/{module}.py", f"/{module}/__main__.py")) if before == "-m" else program == named
        if is_named and program + arguments == command:
            return True
    return False
