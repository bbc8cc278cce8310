"""The interface of a source of images: parts, each of which becomes one shard of the corpus, and their raw samples."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from stages.common.text import one_line
from stages.corpus.images import Refused

MAX_BYTES = 128 * 2**20  # per image file
MAX_TEXT_BYTES = 2**20  # per text or JSON file
MAX_NAME = 500  # characters kept of a name or fact
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".avif", ".heic", ".heif", ".bmp", ".gif", ".tif", ".tiff")
"""How the names of pictures end, in any case."""
FACTS = ("url", "license", "nsfw")
"""Fields that are kept if a source has them, in any case, so that an image's origin and rights can be traced."""
MIN_REPEATS = 10  # of one character, from which a text is no word or number
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class RawSample:
    """A sample as the source delivers it, not yet decoded."""

    origin: str  # its name in the source
    picture: bytes | Image.Image | Refused  # Refused: the source itself rejects the sample
    alt_text: str
    facts: dict[str, Any] = field(default_factory=dict)  # further data from the source; no stage depends on it
    columns: Mapping[str, Any] = field(default_factory=dict)  # untrusted metadata for the filters, by names in lower case

    @property
    def digest(self) -> str:
        """The SHA-256 in hex of the picture's file or, where the source has none, of the sample's name."""
        content = self.picture if isinstance(self.picture, bytes) else self.origin.encode("utf-8", "surrogatepass")
        return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Part:
    """A run of samples that becomes one shard. It travels to worker processes.

    ``inputs`` and ``settings`` together determine the samples; while neither changes, the shard is reused.
    """

    shard: str  # the shard's name; it depends on this part alone, so that no other part can rename it
    name: str  # for messages
    samples: int  # for the progress bar; an estimate if the source would have to be read to count them
    read: Callable[[], Iterator[RawSample]]
    inputs: tuple[Path, ...] = ()  # local files
    settings: Mapping[str, Any] = field(default_factory=dict)


def shard_name(name: str) -> str:
    """Return the shard's name for a part of a source: its own if that is a plain word, else one with a digest."""
    if SAFE_NAME.fullmatch(name):
        return name
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-_")[:40]
    return f"{readable}-{short_digest(name)}".lstrip("-")


def short_digest(text: str) -> str:
    """Return twelve hexadecimal digits that stand for a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def printable(name: object) -> str:
    """Return an untrusted name made safe for a list or a message: one line, no control characters, at most MAX_NAME."""
    shown = str(name)[:MAX_NAME]
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)


def text_of(value: object) -> str:
    """Return an alt text as one line: a text, or of a list of texts the first that is not empty; else ""."""
    texts = value if isinstance(value, list) else [value]
    return next((line for line in map(one_line, texts) if line), "")


def meaningful(alt_text: str) -> str:
    """Return an alt text, or "" if it only repeats one character; what it says is for later stages to judge."""
    return "" if len(alt_text) >= MIN_REPEATS and len(set(alt_text.replace(" ", ""))) == 1 else alt_text


def facts_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of :data:`FACTS` that ``record`` has, whose keys are in lower case: texts, numbers, truth values."""
    found = {name: record.get(name) for name in FACTS}
    return {name: printable(value) for name, value in found.items() if isinstance(value, str | int | float) and value != ""}
