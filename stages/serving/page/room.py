"""The disk that the files of the page take: how much it may be, and the removal of those that nobody uses any more."""

import asyncio
import logging
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from stages.core.files import lack_of_room
from stages.serving.calls import BusyError

MAX_FOLDER = 2 * 2**30  # bytes of the files in a folder when another one is asked for
RETRY_SECONDS = 60  # until a client may try again
SWEEP_SECONDS = 60  # between two removals of what is old

logger = logging.getLogger(__name__)


async def check_room(folder: Path) -> None:
    """Look how much a folder holds.

    Raises:
        BusyError: as much as it may.
    """
    if await asyncio.to_thread(_bytes_in, folder) >= MAX_FOLDER:
        raise BusyError("the service holds too many pictures; old ones are removed", RETRY_SECONDS)


@contextmanager
def needing_room() -> Iterator[None]:
    """Write files within the block.

    Raises:
        BusyError: the disk is full.
    """
    try:
        yield
    except OSError as error:
        if (reason := lack_of_room(error)) is None:
            raise
        raise BusyError(f"the disk of the service: {reason}", RETRY_SECONDS) from error


@asynccontextmanager
async def swept(ages: dict[Path, int]) -> AsyncIterator[None]:
    """Within the block, remove what is old from folders again and again.

    Args:
        ages: folder → seconds after which an entry of it is removed.
    """
    sweeping = asyncio.create_task(_sweep_on_schedule(ages))
    try:
        yield
    finally:
        sweeping.cancel()


async def _sweep_on_schedule(ages: dict[Path, int]) -> None:
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        for folder, seconds in ages.items():
            try:
                await asyncio.to_thread(sweep, folder, seconds)
            except OSError:
                logger.exception("old files of the page could not be removed")


def sweep(folder: Path, seconds: float) -> None:
    """Remove the entries of a folder in which nothing has changed for some seconds.

    What counts is the time of the inode: copies have the other one from what they were made of.
    """
    for entry in folder.iterdir():
        try:
            last = max(each.lstat().st_ctime for each in (entry, *entry.rglob("*")))
        except FileNotFoundError:  # removed meanwhile
            continue
        if time.time() - last <= seconds:
            continue
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def _bytes_in(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += Path(parent, name).lstat().st_size
            except FileNotFoundError:  # removed meanwhile
                continue
    return total
