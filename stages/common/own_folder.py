"""A temporary folder of this process's own. It ends with the process, and after a kill with the next process of its kind."""

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def own_folder(prefix: str) -> Iterator[Path]:
    """Yield a new, empty folder, removed after the block; those that killed processes have left are removed before it.

    Args:
        prefix: begins the names of the folders of one kind of process.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        _remove_unlocked(left)
    folder, lock = _make_locked(prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _make_locked(prefix: str) -> tuple[Path, int]:
    """Return a new folder and its lock, which this process holds until it ends, however it ends."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # a process that starts too took it for one that was left
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():  # the same before the lock
            return folder, lock
        os.close(lock)


def _remove_unlocked(folder: Path) -> None:
    """Remove the folder of a process that was killed; one that is locked belongs to a process that runs."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # another user's, or gone meanwhile
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
        logging.getLogger(__name__).info("removed %s, which a killed process had left", folder)
    except OSError:
        return
    finally:
        os.close(lock)
