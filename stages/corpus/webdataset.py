"""Tar files as a source, as img2dataset writes them: ``KEY.jpg``, ``KEY.txt`` (alt text), ``KEY.json`` side by side.

A tar is streamed from any file system that fsspec knows, once, from its beginning to its end. Nothing is unpacked: the
regular members that make up a sample are read into memory, whatever they are called.
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
from stages.corpus.parts import MAX_BYTES, MAX_WORDS, Part, RawSample, facts_of, printable

SLOTS = {"jpg": "image", "jpeg": "image", "png": "image", "webp": "image", "txt": "text", "json": "json"}
"""Extension → what the member is to its sample."""


def tar_parts(source: WebDatasetSource, shard_size: int) -> list[Part]:
    """Return one part for each tar that the glob finds, in the order of their names.

    A local tar is known by its bytes, a remote one by its size and what its file system has for a checksum.

    Args:
        source: its ``path`` is a local glob or a URL with a glob: ``s3://bucket/laion/*.tar``.
        shard_size: taken for the number of samples of a tar, which only reading it would tell.

    Raises:
        InputError: the glob finds no file, or the file system cannot be reached.
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
    """Return the folders before the first wildcard: what all names have in common, and nobody needs to see."""
    before = min((pattern.find(char) for char in "*?[" if char in pattern), default=len(pattern))
    return pattern[: pattern.rfind("/", 0, before) + 1]


def _read_tar(files: fsspec.AbstractFileSystem, path: str, name: str) -> Iterator[RawSample]:
    """Yield the samples of a tar.

    Raises:
        InputError: the tar cannot be opened, or not be read to its end. What it has lost is unknown, so nothing of it is taken.
    """
    with open_tar(partial(files.open, path, "rb"), name, "r|") as tar:
        of_samples = (member for member in members(tar) if not member.isdir() and _suffix(member) in SLOTS)
        for key, group in groupby(of_samples, _key):
            yield _sample(f"{name}/{printable(key)}", tar, group)


def _key(member: tarfile.TarInfo) -> str:
    """Return what the members of a sample share: all that is before the first dot of the file's name."""
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
    """Return slot → bytes; other members, such as KEY.seg.png, are none of our business."""
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
        limit = MAX_BYTES if slot == "image" else MAX_WORDS
        if member.size > limit:
            raise Refused(f"member larger than {limit:,} bytes")
        contents[slot] = file.read()
    return contents


def _words(contents: dict[str, bytes]) -> tuple[str, dict[str, Any]]:
    """Return the alt text, from the text member or else the JSON's caption, and the facts of the JSON."""
    try:
        record = json.loads(contents.get("json", b"{}"))
        text = contents["text"].decode() if "text" in contents else None
    except (ValueError, RecursionError) as error:
        raise Refused("text or json cannot be read") from error
    if not isinstance(record, dict):
        raise Refused("text or json cannot be read")
    return one_line(record.get("caption") if text is None else text), facts_of(record)
