"""Tars with more members than a disk or memory should hold."""

import io
import tarfile


class RepeatedBlock(io.RawIOBase):
    """A file that starts with one block repeated ``count`` times and then holds ``end``; the repeats take no memory."""

    def __init__(self, block: bytes, count: int, end: bytes) -> None:
        self.block, self.start, self.end, self.place = block, len(block) * count, end, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        self.place = place + {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: self.start + len(self.end)}[whence]
        return self.place

    def readinto(self, buffer) -> int:
        rest = self.block[self.place % len(self.block) :] if self.place < self.start else self.end[self.place - self.start :]
        data = rest[: len(buffer)]
        buffer[: len(data)] = data
        self.place += len(data)
        return len(data)


def empty_member(name: str, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return the header of a member without content."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd" if kind == tarfile.SYMTYPE else ""
    return info.tobuf(tarfile.USTAR_FORMAT)
