"""Files in a tar that is written whole or not at all, and proves on reading that it still is what was written."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from stages.core.errors import InputError, first_line
from stages.core.files import file_digest, read_json, written_aside

MANIFEST = "manifest.json"  # the last member: a tar that was cut off has none
FILES = "files"  # in the manifest: name → SHA-256


class _Digesting(io.RawIOBase):
    """A file whose bytes are digested as they are read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        chunk = self._file.read(size)
        self.digest.update(chunk)
        return chunk


def write_archive(path: Path, files: Mapping[str, Path], facts: Mapping[str, Any]) -> None:
    """Write files to a tar that only its owner may read, with a manifest that holds their digests.

    Args:
        path: the tar; one that is there already is replaced.
        files: name in the tar → file.
        facts: what else the manifest says.

    Raises:
        NoRoomError: the disk or a quota is full.
    """
    digests = {}
    with written_aside(path) as temporary, _opened(temporary) as tar:
        for name, source in sorted(files.items()):
            with source.open("rb") as file:
                read = _Digesting(file)
                tar.addfile(tar.gettarinfo(arcname=name, fileobj=file), read)
            digests[name] = read.digest.hexdigest()
        manifest = json.dumps({**facts, FILES: digests}, indent=2, sort_keys=True).encode()
        member = tarfile.TarInfo(MANIFEST)
        member.size = len(manifest)
        tar.addfile(member, io.BytesIO(manifest))


def _opened(path: Path) -> tarfile.TarFile:
    path.touch(mode=0o600)  # databases may hold secrets
    return tarfile.open(path, "w")


def extract_archive(path: Path, folder: Path) -> dict[str, Any]:
    """Extract a tar of :func:`write_archive` and return its manifest; the folder is made whole or not at all.

    Args:
        path: the tar.
        folder: where the files are put; what is there already is replaced.

    Raises:
        InputError: there is no such tar, or it is not what was written.
        NoRoomError: the disk or a quota is full.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with written_aside(folder) as temporary:
        try:
            with tarfile.open(path) as tar:
                tar.extractall(temporary, filter="data")  # links and paths that lead out of the folder are refused
            manifest: dict[str, Any] = read_json(temporary / MANIFEST)
            digests: dict[str, str] = manifest[FILES]
        except (tarfile.TarError, FileNotFoundError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: damaged, or no backup: {first_line(error)}") from error
        (temporary / MANIFEST).unlink()
        found = {each.relative_to(temporary).as_posix(): each for each in temporary.rglob("*") if each.is_file()}
        if wrong := sorted(digests.keys() ^ found.keys()):
            raise InputError(f"{path}: damaged: {wrong[0]} is missing, or does not belong there")
        for name, file in found.items():
            if file_digest(file) != digests[name]:
                raise InputError(f"{path}: damaged: {name} has other bytes than were written")
    return manifest
