"""How much of the disk the files of the page may take."""

import asyncio
import os
from pathlib import Path

from stages.serving.calls import BusyError

MAX_BYTES = 2 * 2**30  # of the files in a folder when another one is asked for
PATIENCE = 60  # seconds until a client may try again


async def check_room(folder: Path) -> None:
    """Look how much a folder holds.

    Raises:
        BusyError: as much as it may.
    """
    if await asyncio.to_thread(_bytes_in, folder) >= MAX_BYTES:
        raise BusyError("the service holds too many pictures; old ones are removed", PATIENCE)


def _bytes_in(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += Path(parent, name).lstat().st_size
            except FileNotFoundError:  # removed meanwhile
                continue
    return total
