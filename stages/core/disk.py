"""How much of the disk folders take."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

GIGABYTE = 1e9
BLOCK = 512  # bytes, the unit of st_blocks on every system


def used_gigabytes(folders: Iterable[Path], *, without: Path | None = None) -> float:
    """Return how many GB of the disk everything below some folders takes.

    A file that is found twice, because it has two names or one folder lies in another, counts once. Links are not followed.

    Args:
        folders: where to look.
        without: a folder below one of them that does not count.
    """
    found = {}
    for folder in folders:
        for place, below, names in os.walk(folder):
            below[:] = [name for name in below if Path(place, name) != without]
            for name in names:
                with suppress(FileNotFoundError):  # it was removed meanwhile
                    status = os.lstat(os.path.join(place, name))  # noqa: PTH118 - a path object a file is slow
                    found[status.st_dev, status.st_ino] = status.st_blocks * BLOCK
    return sum(found.values()) / GIGABYTE
