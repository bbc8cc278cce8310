"""Tar files in img2dataset's layout as a source: ``KEY.jpg``, ``KEY.txt`` or ``KEY.caption`` (alt text), ``KEY.json``.

A tar is listed first and then read sample by sample, so the members of a sample may stand anywhere in it. Nothing is
unpacked to disk: the regular members of a sample are read into memory.
"""

import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from stages.core.errors import InputError
from stages.core.params_ingest import WebDatasetSource
from stages.corpus.archives import members, open_tar
from stages.corpus.filters import SIDES
from stages.corpus.globs import common_folder, expand
from stages.corpus.images import Refused
from stages.corpus.parts import (
    MAX_BYTES,
    MAX_TEXT_BYTES,
    PICTURE_SUFFIXES,
    Part,
    RawSample,
    facts_of,
    printable,
    shard_name,
    text_of,
)
from stages.corpus.places import missing, resolve

SLOTS = {suffix.removeprefix("."): "image" for suffix in PICTURE_SUFFIXES} | {"txt": "text", "caption": "text", "json": "json"}
"""Extension → the slot that the member fills in its sample."""
EMPTY: tuple[object, ...] = (None, "", [])  # values in JSON that say nothing
MAX_KEYS = 100_000  # names in a tar that could be samples
MAC_COMPANION, MAC_FOLDER = "._", "__MACOSX/"  # what macOS adds to archives


def tar_parts(source: WebDatasetSource, shard_size: int) -> list[Part]:
    """Return one part for each tar that the path names.

    A local tar is identified by its bytes, a remote one by its size and its file system's checksum.

    Args:
        source: its ``path`` is a local glob, or a URL with a glob such as ``s3://bucket/laion/*.tar``; braces and ``::``
            are expanded as WebDataset does: ``{00000..00231}.tar``, ``a.tar::b.tar``.
        shard_size: estimate of the samples per tar, for the progress bar; an exact count would mean reading every tar.

    Raises:
        InputError: a pattern matches no file, or the file system cannot be reached.
    """
    try:
        globs = [fsspec.core.url_to_fs(resolve(pattern)) for pattern in expand(source.path)]
        root = common_folder([files.unstrip_protocol(pattern) for files, pattern in globs])
        found: dict[tuple[fsspec.AbstractFileSystem, str], Part] = {}
        for files, pattern in globs:
            tars = sorted(path for path, facts in files.glob(pattern, detail=True).items() if facts["type"] == "file")
            if not tars:
                break
            found |= {(files, path): _part(files, path, _shown(files, path, root), shard_size) for path in tars}
    except InputError:
        raise
    except (OSError, ValueError, TypeError, ImportError) as error:
        raise InputError(f"ingest.source.path = {source.path!r}: {printable(error)}") from error
    if not tars:
        which = f" {_shown(files, pattern, root)}" if len(globs) > 1 else ""
        raise InputError(f"ingest.source.path = {source.path!r}: no such file{which}{missing(source.path)}")
    return list(found.values())


def _shown(files: fsspec.AbstractFileSystem, path: str, root: str) -> str:
    return printable(files.unstrip_protocol(path).removeprefix(root))


def _part(files: fsspec.AbstractFileSystem, path: str, name: str, samples: int) -> Part:
    read = partial(_read_tar, files, path, name)
    shard = shard_name(name.removesuffix(".tar"))
    if isinstance(files, LocalFileSystem):
        return Part(shard=shard, name=name, samples=samples, read=read, inputs=(Path(path),), settings={"name": name})
    identity = {"name": name, "size": files.size(path), "checksum": str(files.checksum(path))}
    return Part(shard=shard, name=name, samples=samples, read=read, settings=identity)


def _read_tar(files: fsspec.AbstractFileSystem, path: str, name: str) -> Iterator[RawSample]:
    """Yield the samples of a tar.

    Raises:
        InputError: the tar cannot be opened, or is truncated or damaged. It then contributes nothing, because nobody
            knows what it has lost.
    """
    with open_tar(partial(_open_local, files, path), name) as tar:
        for key, sample in _list_samples(tar, name).items():
            yield _read_sample(f"{name}/{printable(key)}", tar, sample)


def _open_local(files: fsspec.AbstractFileSystem, path: str) -> IO[bytes]:
    """Open a tar where it can be read at any place: a remote one is copied to a nameless temporary file first."""
    file: IO[bytes] = files.open(path, "rb")
    if isinstance(files, LocalFileSystem):
        return file
    with file:
        copy = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        shutil.copyfileobj(file, copy)
    copy.seek(0)
    return copy


@dataclass(slots=True)
class _Sample:
    """The members of a sample, by slot; ``refused`` says what is wrong with them, whatever they hold."""

    members: dict[str, tarfile.TarInfo] = field(default_factory=dict)
    refused: str = ""


def _list_samples(tar: tarfile.TarFile, name: str) -> dict[str, _Sample]:
    """Return the samples of a tar by key, in the order of their first members.

    A key is a member's path without its extension. Where the path up to the *first* dot of the file name is a key too,
    as in WebDataset's convention, ``KEY.seg.png`` is a further picture of that sample, and ignored.

    Raises:
        InputError: the tar has more than MAX_KEYS keys.
    """
    samples: dict[str, _Sample] = {}
    for member in members(tar):
        key, _, extension = member.name.rpartition(".")
        folder, _, file_name = member.name.rpartition("/")
        slot = SLOTS.get(extension.lower())
        if member.isdir() or slot is None or file_name.startswith(MAC_COMPANION) or MAC_FOLDER in f"{folder}/":
            continue
        if key not in samples and len(samples) == MAX_KEYS:
            raise InputError(f"{name}: more than {MAX_KEYS:,} names of samples in one tar; split it")
        sample = samples.setdefault(key, _Sample())
        sample.refused = sample.refused or _objection(member, slot, sample)
        sample.members.setdefault(slot, member)
    return {key: sample for key, sample in samples.items() if not _belongs_to_another(key, samples)}


def _objection(member: tarfile.TarInfo, slot: str, sample: _Sample) -> str:
    """Return why a member makes its sample unusable, or ""."""
    if PurePosixPath(member.name).is_absolute() or ".." in PurePosixPath(member.name).parts:
        return "member name outside the archive"
    if not member.isreg() or member.issparse():
        return "not a regular member"
    if slot in sample.members:
        return f"more than one {slot} in the sample"
    limit = MAX_BYTES if slot == "image" else MAX_TEXT_BYTES
    return f"member larger than {limit:,} bytes" if member.size > limit else ""


def _belongs_to_another(key: str, samples: dict[str, _Sample]) -> bool:
    folder, slash, name = key.rpartition("/")
    first, dot, _ = name.partition(".")
    return bool(dot) and len(samples[key].members) == 1 and folder + slash + first in samples


def _read_sample(origin: str, tar: tarfile.TarFile, sample: _Sample) -> RawSample:
    if sample.refused:
        return RawSample(origin=origin, picture=Refused(sample.refused), alt_text="")
    contents: dict[str, bytes] = {}
    for slot, member in sample.members.items():
        file = tar.extractfile(member)
        contents[slot] = b"" if file is None else file.read()
    try:
        alt_text, record = _words(contents)
    except Refused as reason:
        return RawSample(origin=origin, picture=reason, alt_text="")
    picture = contents.get("image", Refused("no image in the sample"))
    return RawSample(origin=origin, picture=picture, alt_text=alt_text, facts=facts_of(record), columns=_measured(record))


def _words(contents: dict[str, bytes]) -> tuple[str, dict[str, Any]]:
    """Return the alt text, and the values of the JSON by their names in lower case.

    The alt text is the text member, else the JSON's caption, else its text: the first that is not empty. Likewise of names
    in the JSON that differ in case only, the first counts whose value is not empty.
    """
    try:
        record = json.loads(contents.get("json", b"{}"))
        text = contents.get("text", b"").decode()
    except (ValueError, RecursionError) as error:
        raise Refused("text or json cannot be read") from error
    if not isinstance(record, dict):
        raise Refused("text or json cannot be read")
    values = {name.strip().lower(): value for name, value in reversed(record.items()) if value not in EMPTY}
    texts = map(text_of, (text, values.get("caption"), values.get("text")))
    return next(filter(None, texts), ""), values


def _measured(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with the sides that img2dataset found when it downloaded the picture, instead of those after resizing."""
    return {**record, **{side: record[f"original_{side}"] for side in SIDES if f"original_{side}" in record}}
