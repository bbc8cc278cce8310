"""The folder of a running service: sockets, and the files of the page's sessions. It ends with the service."""

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UPLOADS = "files"  # the folder in it for what Gradio keeps
PREFIX = "iedit-serve-"  # in the system's own folder, because the address of a socket has room for 108 bytes


@contextmanager
def service_folder() -> Iterator[Path]:
    """Yield a new, empty folder, removed after the block; those that killed services have left are removed before it."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        _remove_unlocked(left)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # held until this process ends, however it ends
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _remove_unlocked(folder: Path) -> None:
    """Remove the folder of a service that was killed; one that is locked belongs to a service that runs."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # another user's, or gone meanwhile
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
        logging.getLogger(__name__).info("removed %s, which a killed service had left", folder)
    except OSError:
        return
    finally:
        os.close(lock)
