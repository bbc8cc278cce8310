"""Edits with both images in tar shards (WebDataset layout).

Members have a fixed owner and time, and PNG is lossless, so equal samples give equal bytes. Shards are untrusted:
readers accept only the layout described here, read members into memory, and never unpack them to disk.
"""

import io
import json
import tarfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from stages.common.text import one_line
from stages.core.errors import InputError
from stages.corpus.archives import members, open_tar
from stages.corpus.images import Refused, decoded
from stages.corpus.parts import MAX_BYTES, printable

MAX_PIXELS = 2048 * 2048  # per picture in a shard: the largest ingest.size


@dataclass(frozen=True, kw_only=True)
class EditSample:
    """A source image with its (pseudo-)target, the masks of what differs, and the prompts: a training pair or test case.

    Members ``KEY.source.png``, ``KEY.target.png``, ``KEY.source_mask.png``, ``KEY.target_mask.png`` and ``KEY.json``.
    """

    key: str
    source: Image.Image  # RGB
    target: Image.Image  # RGB, same size
    source_mask: Image.Image  # "L", 0 or 255: M1
    target_mask: Image.Image  # "L", 0 or 255: M2
    source_caption: str  # y1
    edit_prompt: str  # y2
    source_diff: str  # y1_diff: what the edit changes, CLIPSeg's query for the source ("red car")
    target_diff: str  # y2_diff: what it becomes ("blue car")
    target_alt_text: str  # the target's own caption in the corpus
    metadata: dict[str, Any]  # relation, target key, scores of the pair; a benchmark's instruction


WORDS = ("source_caption", "edit_prompt", "source_diff", "target_diff", "target_alt_text")
PICTURES: dict[str, Literal["RGB", "L"]] = {"source": "RGB", "target": "RGB", "source_mask": "L", "target_mask": "L"}


def write_edits(path: Path, samples: Iterable[EditSample]) -> int:
    """Write edit samples to a tar and return how many."""
    return _write(
        path,
        (
            {"__key__": sample.key, "json": _json({name: getattr(sample, name) for name in (*WORDS, "metadata")})}
            | {f"{name}.png": _png(getattr(sample, name)) for name in PICTURES}
            for sample in samples
        ),
    )


def read_edits(path: Path) -> Iterator[EditSample]:
    """Yield the samples of an edit shard in order; prompts come as single lines without control characters.

    Raises:
        InputError: the shard is damaged, or a sample does not match :class:`EditSample`.
    """
    for key, contents in _read(path, ("json", *(f"{name}.png" for name in PICTURES))):
        with _sample(path, key):
            record = _object(contents["json"])
            wrong = next((name for name in WORDS if not isinstance(record[name], str)), None)
            if wrong is not None or not isinstance(record["metadata"], dict):
                raise TypeError(f"{wrong or 'metadata'} has the wrong type")
            words: dict[str, Any] = {name: one_line(record[name]) for name in WORDS}
            pictures: dict[str, Any] = {name: _picture(contents[f"{name}.png"], mode) for name, mode in PICTURES.items()}
            if len({picture.size for picture in pictures.values()}) > 1:
                raise ValueError("pictures of different sizes")
            sample = EditSample(key=printable(key), **words, **pictures, metadata=record["metadata"])
        yield sample


def _tar(path: Path) -> AbstractContextManager[tarfile.TarFile]:
    return open_tar(lambda: path.open("rb"), str(path))


def _write(path: Path, samples: Iterable[dict[str, Any]]) -> int:
    import webdataset  # with it comes torch, which readers do without

    count = 0
    with path.open("wb") as file, webdataset.TarWriter(file, encoder=False, mtime=0, user="iedit", group="iedit") as writer:
        for sample in samples:
            writer.write(sample)
            count += 1
    return count


def _read(path: Path, wanted: Collection[str]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield (key, extension → bytes) for each key; only members with a ``wanted`` extension are read.

    The key is the part of a name before its first dot. Members of one key stand next to each other.
    """
    key, contents = None, dict[str, bytes]()
    with _tar(path) as tar:
        for member in members(tar):
            name, _, extension = member.name.partition(".")
            file = tar.extractfile(member) if member.isreg() and not member.issparse() else None
            if file is None:
                continue
            if key not in (None, name):
                yield key, contents
                contents = {}
            key = name
            if extension not in wanted:
                continue
            if member.size > MAX_BYTES:
                raise InputError(f"{path}: sample {printable(name)}: a member of {member.size:,} bytes")
            contents[extension] = file.read()
    if key is not None:
        yield key, contents


@contextmanager
def _sample(path: Path, key: str) -> Iterator[None]:
    """Turn any failure to read a sample in the block into an error that names shard and key.

    Raises:
        InputError: a member is missing, unreadable or of the wrong kind.
    """
    try:
        yield
    except KeyError as error:
        raise InputError(f"{path}: sample {printable(key)}: has no {printable(error.args[0])}") from error
    except (Refused, OSError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: sample {printable(key)}: {printable(error)}") from error


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "png", compress_level=6)
    return buffer.getvalue()


def _picture(data: bytes, mode: Literal["RGB", "L"]) -> Image.Image:
    with decoded(data, ("PNG",), MAX_PIXELS) as image:
        if image.mode != mode:
            raise Refused(f"a picture has mode {image.mode}, must be {mode}")
        return image.copy()


def _object(data: bytes) -> dict[str, Any]:
    value = json.loads(data)
    if not isinstance(value, dict):
        raise TypeError("json is not an object")
    return value


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False).encode()
