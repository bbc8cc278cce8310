"""The interface of a source of images: parts, each of which becomes one shard of the corpus, and their raw samples."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from stages.corpus.images import Refused

MAX_SAMPLES = 10_000  # per part: a sample's key has four digits for its place in the shard
MAX_BYTES = 128 * 2**20  # per image file
MAX_TEXT_BYTES = 2**20  # per text or JSON file
MAX_NAME = 500  # characters kept of a name or fact
FACTS = ("url", "license")
"""Fields that are kept if a source has them, so that an image's origin and rights can be traced."""


@dataclass(frozen=True, kw_only=True)
class RawSample:
    """A sample as the source delivers it, not yet decoded."""

    origin: str  # its name in the source
    picture: bytes | Image.Image | Refused  # Refused: the source itself rejects the sample
    alt_text: str
    facts: dict[str, Any] = field(default_factory=dict)  # further data from the source; no stage depends on it


@dataclass(frozen=True, kw_only=True)
class Part:
    """A run of samples that becomes one shard.

    ``inputs`` and ``settings`` together determine the samples; while neither changes, the shard is reused.
    """

    name: str  # for messages
    samples: int  # for the progress bar; an estimate if the source would have to be read to count them
    read: Callable[[], Iterator[RawSample]]
    inputs: tuple[Path, ...] = ()  # local files
    settings: Mapping[str, Any] = field(default_factory=dict)


def printable(name: object) -> str:
    """Return an untrusted name made safe for a list or a message: one line, no control characters, at most MAX_NAME."""
    shown = str(name)[:MAX_NAME]
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)


def facts_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of :data:`FACTS` that ``record`` has."""
    return {name: printable(record[name]) for name in FACTS if isinstance(record.get(name), str) and record[name]}
