"""Small pictures and samples, and the hostile text that tests put into them."""

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from stages.corpus.samples import WORDS, EditSample

ESCAPES = "\x1b[2J\x1b]0;title\x07\u202e\x9b31m\x00"  # a terminal would execute these
HOSTILE = f'a <script>alert(1)</script> "car" {ESCAPES}\n../../etc/passwd {{{{ 7 * 7 }}}}'


def noise(seed: int, size: int = 32) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(256, size=(size, size, 3), dtype=np.uint8))


def picture(mode: str = "RGB", size: int = 8) -> Image.Image:
    levels = np.random.default_rng(0).integers(256, size=(size, size, len(mode)), dtype=np.uint8)
    return Image.fromarray(levels.squeeze()) if mode == "L" else Image.fromarray(levels[..., :3]).convert(mode)


def encoded(image: Image.Image, kind: str = "png", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def edit_sample(**changes: object) -> EditSample:
    words = dict.fromkeys(WORDS, "a car")
    pictures = {"source": picture(), "target": picture(), "source_mask": picture("L"), "target_mask": picture("L")}
    return EditSample(**{"key": "000000000", "metadata": {"relation": "noun"}} | words | pictures | changes)


def replace_member(path: Path, name: str, data: bytes | None) -> None:
    """Replace one member of a tar, or remove it."""
    with tarfile.open(path) as tar:
        found = [(member, tar.extractfile(member).read()) for member in tar]
    with tarfile.open(path, "w") as tar:
        for member, content in found:
            new = data if member.name == name else content
            if new is not None:
                member.size = len(new)
                tar.addfile(member, io.BytesIO(new))
