"""Digests of files, remembered while a file's size, times and inode stay as they were, so that each is read once.

A modification within a moment of an earlier one can leave a file's times as they are, so a digest is remembered for later
runs only if the file was left alone for SETTLED seconds. The memory is a cache below logs/, a file a folder; without it,
files are read again. Several processes may use it at once, as those of one training do.
"""

import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from stages.core.files import TEMPORARY_SUFFIX, file_digest, locked, read_json, remove, value_digest, write_json
from stages.core.paths import DIGESTS

SETTLED = 2.0  # seconds; the coarsest times of usual file systems

Stamp = list[int]  # size, time of modification and of change in ns, inode


class Digests:
    """A memory of digests, to be used in a ``with`` block that ends by writing what is new."""

    def __init__(self, memory: Path = DIGESTS) -> None:
        self._memory = memory
        self._folders: dict[Path, dict[str, tuple[Stamp, str]]] = {}
        self._changed: set[Path] = set()

    def __enter__(self) -> Self:
        with locked(self._memory):
            for path in self._memory.glob(f"*{TEMPORARY_SUFFIX}"):  # of a run that was killed
                remove(path)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self._save()
            return
        with suppress(OSError):  # perhaps the disk is full; the error that is under way says so
            self._save()

    def of(self, path: Path) -> str:
        """Return the SHA-256 of a file's bytes, in hexadecimal.

        Raises:
            OSError: it cannot be read.
        """
        entries, stamp = self._entries(path.parent), _stamp(path)
        known = entries.get(path.name)
        if known is not None and known[0] == stamp:
            return known[1]
        digest = file_digest(path)
        entries[path.name] = (stamp, digest)
        self._changed.add(path.parent)
        return digest

    def learn(self, path: Path, digest: str) -> None:
        """Remember the digest of a file that was just written."""
        self._entries(path.parent)[path.name] = (_stamp(path), digest)
        self._changed.add(path.parent)

    def _entries(self, folder: Path) -> dict[str, tuple[Stamp, str]]:
        if folder not in self._folders:
            self._folders[folder] = _read(self._file(folder))
        return self._folders[folder]

    def _file(self, folder: Path) -> Path:
        return self._memory / f"{value_digest(folder.absolute().as_posix())[:16]}.json"

    def _save(self) -> None:
        settled = time.time_ns() - int(SETTLED * 1e9)
        for folder in self._changed:
            present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
            entries = {
                name: entry for name, entry in self._folders[folder].items() if name in present and max(entry[0][1:3]) < settled
            }
            with locked(self._memory):
                write_json(self._file(folder), entries)
        self._changed.clear()


def _stamp(path: Path) -> Stamp:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _read(file: Path) -> dict[str, tuple[Stamp, str]]:
    try:
        return {name: (stamp, digest) for name, (stamp, digest) in read_json(file).items()}
    except (OSError, ValueError, TypeError, AttributeError):  # missing or damaged: nothing is known
        return {}
