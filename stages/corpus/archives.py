"""Tar files from outside, read member by member: nothing is ever unpacked, whatever a member is called."""

import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Literal

from stages.core.errors import InputError
from stages.corpus.parts import MAX_WORDS, printable

MAX_MEMBER = 2**33 - 1  # bytes: what the eleven octal digits of a plain header can say


class _StrictTarInfo(tarfile.TarInfo):
    """A reader of headers that takes nothing but a block of zeros for the end of a tar, and no size at its word.

    Left to itself, tarfile stops without a word at the first header that is cut or damaged, reads the long name of a
    member into memory however long, and skips a member of 2**60 bytes in as many steps as that takes.
    """

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> "_StrictTarInfo":
        try:
            info = super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error
        if not 0 <= info.size <= MAX_MEMBER:  # also as an extended header gives it
            raise tarfile.ReadError(f"a header announces {info.size} bytes")
        return info

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_StrictTarInfo":
        info = super().frombuf(buf, encoding, errors)
        # Members that only carry another member's long name are read into memory by tarfile itself.
        if not info.isreg() and not info.isdir() and not 0 <= info.size <= MAX_WORDS:
            raise tarfile.HeaderError(f"a header announces {info.size} bytes")
        return info


@contextmanager
def open_tar(open_file: Callable[[], IO[bytes]], name: str, mode: Literal["r:", "r|"]) -> Iterator[tarfile.TarFile]:
    """Open an uncompressed tar to be read with :func:`members`.

    Args:
        open_file: opens its file.
        name: of the tar, in messages.
        mode: "r:" for a seekable file, "r|" to read it in one go.

    Raises:
        InputError: the file cannot be opened, or the block finds that it cannot be read to its end.
    """
    try:
        file = open_file()
    except OSError as error:
        raise InputError(f"{name}: cannot be opened: {printable(error)}") from error
    try:
        with file, tarfile.open(fileobj=file, mode=mode, tarinfo=_StrictTarInfo) as tar:
            yield tar
    except InputError:
        raise
    except (tarfile.TarError, OSError, EOFError, ValueError, RecursionError) as error:
        raise InputError(f"{name}: truncated or damaged tar ({printable(error)}); fetch it again or take it out") from error


def members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the members of a tar and remember none of them, however many there are."""
    while (member := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined]  # the list that getmembers() gives
        yield member
