"""Tar files in img2dataset's layout as a source: ``KEY.jpg``, ``KEY.txt`` (alt text), ``KEY.json`` side by side.

A tar is streamed once, from beginning to end, from any file system that fsspec supports. Nothing is unpacked to disk:
the regular members of a sample are read into memory.
"""

import json
import tarfile
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from stages.common.text import one_line
from stages.core.errors import InputError
from stages.core.params import WebDatasetSource
from stages.corpus.archives import members, open_tar
from stages.corpus.images import Refused
from stages.corpus.parts import MAX_BYTES, MAX_TEXT_BYTES, Part, RawSample, facts_of, printable

SLOTS = {"jpg": "image", "jpeg": "image", "png": "image", "webp": "image", "txt": "text", "json": "json"}
"""Extension → the slot that the member fills in its sample."""


def tar_parts(source: WebDatasetSource, shard_size: int) -> list[Part]:
    """Return one part for each tar that the glob matches, sorted by name.

    A local tar is identified by its bytes, a remote one by its size and its file system's checksum.

    Args:
        source: its ``path`` is a local glob, or a URL with a glob such as ``s3://bucket/laion/*.tar``.
        shard_size: estimate of the samples per tar, for the progress bar; an exact count would mean reading every tar.

    Raises:
        InputError: the glob matches no file, or the file system cannot be reached.
    """
    try:
        files, pattern = fsspec.core.url_to_fs(source.path)
        found = files.glob(pattern, detail=True)
        paths = sorted(path for path, info in found.items() if info["type"] == "file")
        root = _fixed_part(pattern)
        parts = [_part(files, path, printable(path.removeprefix(root)), shard_size) for path in paths]
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"ingest.source.path = {source.path!r}: {printable(error)}") from error
    if not parts:
        raise InputError(f"ingest.source.path = {source.path!r}: no such file")
    return parts


def _part(files: fsspec.AbstractFileSystem, path: str, name: str, samples: int) -> Part:
    read = partial(_read_tar, files, path, name)
    if isinstance(files, LocalFileSystem):
        return Part(name=name, samples=samples, read=read, inputs=(Path(path),), settings={"name": name})
    identity = {"name": name, "size": files.size(path), "checksum": str(files.checksum(path))}
    return Part(name=name, samples=samples, read=read, settings=identity)


def _fixed_part(pattern: str) -> str:
    """Return the folders before the first wildcard, a prefix that all paths share and that messages leave out."""
    before = min((pattern.find(char) for char in "*?[" if char in pattern), default=len(pattern))
    return pattern[: pattern.rfind("/", 0, before) + 1]


def _read_tar(files: fsspec.AbstractFileSystem, path: str, name: str) -> Iterator[RawSample]:
    """Yield the samples of a tar.

    Raises:
        InputError: the tar cannot be opened, or is truncated or damaged. It then contributes nothing, because nobody
            knows what it has lost.
    """
    with open_tar(partial(files.open, path, "rb"), name, "r|") as tar:
        of_samples = (member for member in members(tar) if not member.isdir() and _suffix(member) in SLOTS)
        for key, group in groupby(of_samples, _key):
            yield _sample(f"{name}/{printable(key)}", tar, group)


def _key(member: tarfile.TarInfo) -> str:
    """Return the key that the members of a sample share: the path up to the first dot of the file name."""
    folder, slash, name = member.name.rpartition("/")
    return folder + slash + name.partition(".")[0]


def _extension(member: tarfile.TarInfo) -> str:
    return member.name.rpartition("/")[2].partition(".")[2].lower()


def _suffix(member: tarfile.TarInfo) -> str:
    return member.name.rpartition(".")[2].lower()


def _sample(origin: str, tar: tarfile.TarFile, found: Iterable[tarfile.TarInfo]) -> RawSample:
    try:
        contents = _contents(tar, found)
        alt_text, facts = _words(contents)
    except Refused as reason:
        return RawSample(origin=origin, picture=reason, alt_text="")
    picture = contents.get("image", Refused("no image in the sample"))
    return RawSample(origin=origin, picture=picture, alt_text=alt_text, facts=facts)


def _contents(tar: tarfile.TarFile, found: Iterable[tarfile.TarInfo]) -> dict[str, bytes]:
    """Return slot → bytes; members that fill no slot, such as KEY.seg.png, are ignored."""
    contents: dict[str, bytes] = {}
    for member in found:
        slot = SLOTS.get(_extension(member))
        if slot is None:
            continue
        if slot in contents:
            raise Refused(f"more than one {slot} in the sample")
        if PurePosixPath(member.name).is_absolute() or ".." in PurePosixPath(member.name).parts:
            raise Refused("member name outside the archive")
        file = tar.extractfile(member) if member.isreg() and not member.issparse() else None
        if file is None:
            raise Refused("not a regular member")
        limit = MAX_BYTES if slot == "image" else MAX_TEXT_BYTES
        if member.size > limit:
            raise Refused(f"member larger than {limit:,} bytes")
        contents[slot] = file.read()
    return contents


def _words(contents: dict[str, bytes]) -> tuple[str, dict[str, Any]]:
    """Return the alt text (the text member, else the JSON's caption) and the facts in the JSON."""
    try:
        record = json.loads(contents.get("json", b"{}"))
        text = contents["text"].decode() if "text" in contents else None
    except (ValueError, RecursionError) as error:
        raise Refused("text or json cannot be read") from error
    if not isinstance(record, dict):
        raise Refused("text or json cannot be read")
    return one_line(record.get("caption") if text is None else text), facts_of(record)
