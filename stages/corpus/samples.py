"""Samples as they lie in tar shards (WebDataset layout): corpus images with their text, and edits with both images.

Members have a fixed owner and time, and PNG is lossless, so equal samples are equal bytes. Files are only ever read
into memory: nothing is unpacked, whatever a member is called.
"""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import webdataset
from PIL import Image


@dataclass(frozen=True, kw_only=True)
class CorpusSample:
    """An image of the corpus: ``KEY.png``, ``KEY.txt`` (the web's alt text), ``KEY.json``.

    Metadata: ``origin`` (all that the source tells: its name there, and more by source), ``original_size`` ([width,
    height] in pixels, upright), ``pixels`` (SHA-256 of the RGB bytes).
    """

    key: str
    image: Image.Image  # RGB, square
    alt_text: str
    metadata: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class EditSample:
    """A source with its (pseudo-)target, the masks of what differs, and the words: one training pair or test case.

    Members ``KEY.source.png``, ``KEY.target.png``, ``KEY.source_mask.png``, ``KEY.target_mask.png`` and ``KEY.json``.
    """

    key: str
    source: Image.Image  # RGB
    target: Image.Image  # RGB, same size
    source_mask: Image.Image  # "L", 0 or 255: M1
    target_mask: Image.Image  # "L", 0 or 255: M2
    source_caption: str  # y1
    edit_prompt: str  # y2
    source_diff: str  # y1_diff: what the edit changes, as CLIPSeg is asked for it in the source ("red car")
    target_diff: str  # y2_diff: what it becomes ("blue car")
    target_alt_text: str  # the target's own caption in the corpus
    metadata: dict[str, Any]  # relation, target key, scores of the pair


WORDS = ("source_caption", "edit_prompt", "source_diff", "target_diff", "target_alt_text", "metadata")
PICTURES = ("source", "target", "source_mask", "target_mask")


def write_corpus(path: Path, samples: Iterable[CorpusSample]) -> int:
    """Write corpus samples to a tar and return their number."""
    return _write(
        path,
        (
            {
                "__key__": sample.key,
                "png": _png(sample.image),
                "txt": sample.alt_text.encode(),
                "json": _json(sample.metadata),
            }
            for sample in samples
        ),
    )


def read_corpus(path: Path) -> Iterator[CorpusSample]:
    """Yield the samples of a corpus shard in their order."""
    for key, members in _read(path):
        yield CorpusSample(
            key=key,
            image=_picture(members["png"]),
            alt_text=members["txt"].decode(),
            metadata=json.loads(members["json"]),
        )


def read_metadata(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the metadata of the samples of a corpus shard in their order, without decoding an image."""
    for _, members in _read(path):
        yield json.loads(members["json"])


def write_edits(path: Path, samples: Iterable[EditSample]) -> int:
    """Write edit samples to a tar and return their number."""
    return _write(
        path,
        (
            {"__key__": sample.key, "json": _json({word: getattr(sample, word) for word in WORDS})}
            | {f"{name}.png": _png(getattr(sample, name)) for name in PICTURES}
            for sample in samples
        ),
    )


def read_edits(path: Path) -> Iterator[EditSample]:
    """Yield the samples of a shard of edits in their order."""
    for key, members in _read(path):
        pictures: dict[str, Any] = {name: _picture(members[f"{name}.png"]) for name in PICTURES}
        yield EditSample(key=key, **pictures, **json.loads(members["json"]))


class CorpusReader:
    """Reads single images of a corpus by key, wherever their shard is."""

    def __init__(self, shards: Iterable[Path]) -> None:
        self._places = {
            member.name.removesuffix(".png"): (path, member.offset_data, member.size)
            for path in shards
            for member in _members(path)
            if member.name.endswith(".png")
        }

    def shard(self, key: str) -> Path:
        """Return the shard that holds ``key``."""
        return self._places[key][0]

    @lru_cache(maxsize=4096)  # noqa: B019 - a reader lives as long as its stage
    def image(self, key: str) -> Image.Image:
        """Return the image of ``key``, RGB."""
        path, offset, size = self._places[key]
        with path.open("rb") as file:
            file.seek(offset)
            return _picture(file.read(size))


def _members(path: Path) -> list[tarfile.TarInfo]:
    with tarfile.open(path) as tar:
        return tar.getmembers()


def _write(path: Path, samples: Iterable[dict[str, Any]]) -> int:
    count = 0
    with path.open("wb") as file, webdataset.TarWriter(file, encoder=False, mtime=0, user="iedit", group="iedit") as writer:
        for sample in samples:
            writer.write(sample)
            count += 1
    return count


def _read(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield (key, extension → bytes); a key is what comes before the first dot, members of a key stand together."""
    key, members = "", dict[str, bytes]()
    with tarfile.open(path) as tar:
        for member in tar:
            name, _, extension = member.name.partition(".")
            file = tar.extractfile(member)
            if file is None:
                continue
            if name != key and members:
                yield key, members
                members = {}
            key = name
            members[extension] = file.read()
    if members:
        yield key, members


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "png", compress_level=6)
    return buffer.getvalue()


def _picture(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=["PNG"])
    image.load()
    return image


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False).encode()
