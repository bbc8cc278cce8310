"""Reading of untrusted tar files, member by member. Nothing is ever unpacked to disk, so member names cannot do harm."""

import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from stages.core.errors import InputError
from stages.corpus.parts import MAX_TEXT_BYTES, printable

MAX_MEMBER = 2**33 - 1  # bytes: the most that the eleven octal digits of a plain header can express


class _StrictTarInfo(tarfile.TarInfo):
    """A header parser that accepts only a block of zeros as the end of a tar, and checks every announced size.

    By itself, tarfile silently stops at the first truncated or damaged header, reads a member's long name into memory
    whatever its length, and skips a member of 2**60 bytes step by step.
    """

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> "_StrictTarInfo":
        try:
            info = super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error
        if not 0 <= info.size <= MAX_MEMBER:  # includes sizes from an extended header
            raise tarfile.ReadError(f"a header announces {info.size} bytes")
        return info

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_StrictTarInfo":
        info = super().frombuf(buf, encoding, errors)
        # tarfile itself reads members that only carry another member's long name into memory.
        if not info.isreg() and not info.isdir() and not 0 <= info.size <= MAX_TEXT_BYTES:
            raise tarfile.HeaderError(f"a header announces {info.size} bytes")
        return info


@contextmanager
def open_tar(open_file: Callable[[], IO[bytes]], name: str) -> Iterator[tarfile.TarFile]:
    """Open an uncompressed tar to be read with :func:`members`.

    Args:
        open_file: opens the tar's file, which can be read at any place.
        name: the tar's name in messages.

    Raises:
        InputError: the file cannot be opened, or turns out to be truncated or damaged while the block reads it.
    """
    try:
        file = open_file()
    except OSError as error:
        raise InputError(f"{name}: cannot be opened: {printable(error)}") from error
    try:
        with file, tarfile.open(fileobj=file, mode="r:", tarinfo=_StrictTarInfo) as tar:
            yield tar
    except InputError:
        raise
    except (tarfile.TarError, OSError, EOFError, ValueError, RecursionError) as error:
        raise InputError(f"{name}: truncated or damaged tar ({printable(error)}); fetch it again or remove it") from error


def members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the members of a tar one by one; memory stays flat however many there are."""
    while (member := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined]  # the list behind getmembers()
        yield member
