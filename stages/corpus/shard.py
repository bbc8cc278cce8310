"""The shards of the corpus: a tar in WebDataset's layout, and beside it an index by which any picture is one read away.

Members have a fixed owner and time, so equal samples give equal bytes on the same libraries.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from stages.common.parquet import write_table
from stages.corpus.perceptual_hash import perceptual_hash

Format = Literal["png", "webp", "jpeg"]

INDEX_COLUMNS = {
    "key": "string",
    "offset": "int64",  # of the picture's first byte in the tar
    "length": "int64",  # of the picture, bytes
    "width": "int32",  # pixels
    "height": "int32",
    "pixels": "string",  # SHA-256 in hex: equal digests mean equal pictures, see :func:`picture_digest`
    "perceptual_hash": "uint64",
    "alt_text": "string",
    "origin": "string",  # JSON
}
PLACE_DIGITS = 4  # at the end of a key: the sample's place in its part of the source
MAX_SAMPLES = 10**PLACE_DIGITS  # per shard
PNG = b"\x89PNG\r\n\x1a\n"  # how such a file begins


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How pictures are stored."""

    format: Format = "png"
    quality: int = 90  # 1 to 100; PNG is lossless and has none

    @property
    def extension(self) -> str:
        """The extension of the pictures' members, as img2dataset writes it."""
        return "jpg" if self.format == "jpeg" else self.format

    def encode(self, image: Image.Image) -> bytes:
        """Return an RGB picture as a file; JPEG keeps its colours at full resolution."""
        options: dict[str, dict[str, Any]] = {
            "png": {"compress_level": 6},
            "webp": {"quality": self.quality, "method": 4},
            "jpeg": {"quality": self.quality, "subsampling": "4:4:4", "comment": ""},  # otherwise the source's
        }
        buffer = io.BytesIO()
        image.save(buffer, self.format, **options[self.format])
        return buffer.getvalue()


@dataclass(frozen=True, kw_only=True)
class CorpusSample:
    """A picture for the corpus: ``KEY.png`` (or ``webp``, ``jpg``), ``KEY.txt`` (the web's alt text), ``KEY.json``."""

    key: str  # the shard's name and PLACE_DIGITS digits
    image: Image.Image  # RGB, square
    alt_text: str
    origin: dict[str, Any]  # the sample's ``name`` in its source, and what else the source records
    original_size: tuple[int, int]  # width and height in the source, in pixels, upright


def key_of(shard: str, place: int) -> str:
    """Return the key of the sample at ``place`` of a shard."""
    return f"{shard}{place:0{PLACE_DIGITS}d}"


def shard_of(key: str) -> str:
    """Return the name of the shard that holds ``key``."""
    return key[:-PLACE_DIGITS]


def pixel_digest(image: Image.Image) -> str:
    """Return the SHA-256 of an RGB picture's pixels, in hex."""
    return hashlib.sha256(image.tobytes()).hexdigest()


def picture_digest(image: Image.Image, encoded: bytes) -> str:
    """Return a digest that decides the pixels that a reader of the shard sees.

    It is that of the RGB bytes or, where the encoding is not PNG and so lossy, that of the file.
    """
    return pixel_digest(image) if encoded.startswith(PNG) else hashlib.sha256(encoded).hexdigest()


def write_corpus(tar: Path, index: Path, samples: Iterable[CorpusSample], encoding: Encoding) -> int:
    """Write corpus samples to a tar and its index, and return how many."""
    import webdataset  # with it comes torch, which readers do without

    rows = []
    with tar.open("wb") as file, webdataset.TarWriter(file, encoder=False, mtime=0, user="iedit", group="iedit") as writer:
        for sample in samples:
            picture = encoding.encode(sample.image)
            place = writer.tarstream.offset + tarfile.BLOCKSIZE  # after the member's header
            row = {
                "key": sample.key,
                "offset": place,
                "length": len(picture),
                "width": sample.image.width,
                "height": sample.image.height,
                "pixels": picture_digest(sample.image, picture),
                "perceptual_hash": perceptual_hash(sample.image),
                "alt_text": sample.alt_text,
                "origin": _json(sample.origin),
            }
            writer.write({"__key__": sample.key, encoding.extension: picture})
            facts = {"origin": sample.origin, "original_size": sample.original_size, "pixels": row["pixels"]}
            writer.write({"__key__": sample.key, "json": _json(facts).encode(), "txt": sample.alt_text.encode()})
            rows.append(row)
    write_table(index, rows, INDEX_COLUMNS)
    return len(rows)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
