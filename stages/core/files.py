"""Files and folders that are written whole or not at all."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from safetensors import SafetensorError

from stages.core.errors import InputError

Content = TypeVar("Content")

TEMPORARY_SUFFIX = ".partial"
LOCK_FILE = ".lock"
SQLITE_FULL = "database or disk is full"
NO_ROOM = (*map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)), SQLITE_FULL)


class NoRoomError(OSError):
    """The disk or a quota is full; the message is one line that names the file that could not be written."""


def lack_of_room(error: object) -> str | None:
    """Return the system's words if an error means a full disk or quota, else None; FAISS and MLflow only quote them."""
    return next((words for words in NO_ROOM if words in str(error)), None)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name ``path`` in the errors that a full disk causes inside the block.

    Raises:
        NoRoomError: the disk or a quota is full.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # RuntimeError: FAISS
        reason = lack_of_room(error)
        if reason is None:
            raise
        raise NoRoomError(f"{path}: {reason}") from error


@contextmanager
def written_aside(path: Path, attempt: int = 0) -> Iterator[Path]:
    """Yield a path to write a file or a folder to, and rename it to ``path`` when the block succeeds.

    A reader sees the whole old version, none, or the whole new one. The yielded path lies in a folder of its own beside
    ``path``, because safetensors writes temporary files beside its target. After an error that folder is removed; after
    a kill it stays, is never read, and the next attempt removes it.

    Args:
        path: what is to be written.
        attempt: its number, where an earlier one may still be at work in another process.

    Raises:
        NoRoomError: the disk or a quota is full.
    """
    aside = aside_of(path, attempt)
    temporary = aside / path.name
    with writing(path):
        try:
            remove(aside)
            aside.mkdir(parents=True)
            yield temporary
            for part in [temporary, *temporary.rglob("*")]:
                if part.is_file():
                    with part.open("rb") as file:
                        os.fsync(file.fileno())
            if path.is_dir():
                path.rename(aside / "old")  # removing it in place would show readers a folder that lacks files
            temporary.replace(path)
        finally:
            remove(aside)


def aside_of(path: Path, attempt: int = 0) -> Path:
    """Return the folder in which an attempt writes ``path``."""
    return path.with_name(f"{path.name}{f'.{attempt}' if attempt else ''}{TEMPORARY_SUFFIX}")


def remove(path: Path) -> None:
    """Remove a file, or a folder with its contents, if it exists."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let no other process into such a block for ``folder`` until this one has left it or has ended.

    The lock is the file LOCK_FILE in it, open for writing, because NFS locks no other. It stays: whoever removed it could let
    two processes in.

    Args:
        folder: made if it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_FILE).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def move_entries(folder: Path, to: Path) -> None:
    """Move all files and folders of ``folder`` into ``to``, where each replaces what has its name; others stay.

    After an error ``to`` is as it was. Nothing but renames lies between the first and the last entry, so only a kill within
    these leaves some old ones among the new, until the move is repeated.

    Args:
        folder: removed; it may lie on another disk, as a volume of a container does.
        to: made if it is missing.
    """
    aside = to / f".{folder.name}{TEMPORARY_SUFFIX}"
    new, old = aside / "new", aside / "old"
    remove(aside)
    with ExitStack() as undo:
        undo.callback(remove, aside)
        old.mkdir(parents=True)
        shutil.move(folder, new)
        for entry in sorted(new.iterdir()):
            place, replaced = to / entry.name, old / entry.name
            if place.exists():
                place.rename(replaced)
                undo.callback(replaced.rename, place)
            entry.rename(place)
            undo.callback(place.rename, entry)
        undo.pop_all()
    remove(aside)


def write_json(path: Path, value: Any, attempt: int = 0) -> None:
    """Write ``value`` as JSON with sorted keys and a final newline, whole or not at all; see :func:`written_aside`."""
    with written_aside(path, attempt) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, whole or not at all."""
    with written_aside(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """Return the JSON value in ``path``."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_written(path: Path, parse: Callable[[bytes], Content]) -> Content:
    """Return the content of a file that an earlier stage wrote.

    Args:
        path: the file.
        parse: turns its bytes into the content, and raises pydantic's ValidationError if they are damaged.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        return parse(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; run the stage that writes it") from error
    except ValidationError as error:
        raise InputError(f"{path}: damaged; run the stage that writes it") from error


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """Return a SHA-256 over the names and bytes of all files below ``folder``, sorted by name."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{file_digest(path)}\n".encode())
    return digest.hexdigest()


def value_digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
