"""What every source of images gives: parts, each of which becomes one shard of the corpus, and their raw samples."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from stages.corpus.images import Refused

MAX_SAMPLES = 10_000  # of a part: a sample's key has four digits for its place in the shard
MAX_BYTES = 128 * 2**20  # of an image file
MAX_WORDS = 2**20  # bytes of a text or JSON file
MAX_NAME = 500  # characters of a name or fact that is kept
FACTS = ("url", "license")
"""What is kept, where a source tells it, to find the rights and the origin of an image again."""


@dataclass(frozen=True, kw_only=True)
class RawSample:
    """A sample as its source has it, not yet decoded."""

    origin: str  # its name in the source
    picture: bytes | Image.Image | Refused  # Refused: the source itself does not let it in
    alt_text: str
    facts: dict[str, Any] = field(default_factory=dict)  # what else the source tells of it; no stage depends on it


@dataclass(frozen=True, kw_only=True)
class Part:
    """A run of samples that becomes one shard.

    ``inputs`` and ``settings`` together decide the samples; if neither changes, the shard is not made again.
    """

    name: str  # for messages
    samples: int  # where a source cannot tell without reading it, a guess for the progress bar
    read: Callable[[], Iterator[RawSample]]
    inputs: tuple[Path, ...] = ()  # local files
    settings: Mapping[str, Any] = field(default_factory=dict)


def printable(name: object) -> str:
    """Return a name from outside fit for a list or a message: one line, no control characters, of bounded length."""
    shown = str(name)[:MAX_NAME]
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)


def facts_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the :data:`FACTS` that ``record`` has."""
    return {name: printable(record[name]) for name in FACTS if isinstance(record.get(name), str) and record[name]}
