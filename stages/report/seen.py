"""Which pictures a source has, and which of them came since an earlier night: the refused share of these is bounded too.

A picture that was kept is known by its pixels, and a refused one by its file: a new name or place makes none new, a further
copy does. Only the records and indexes of the corpus are read. Of a large source as many pictures are held as have digests
divisible by a power of two: about half a million to a million.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, ValidationError

from stages.common.parquet import read_columns
from stages.core.errors import InputError
from stages.core.files import write_text
from stages.core.paths import CORPUS, SEEN
from stages.core.shards import list_shards
from stages.core.sidecars import read_sidecar, sidecar_of
from stages.report.night import HELD, SUFFIX

FEW = 20  # new pictures that suffice: of fewer, a large share may be refused by chance
HEX_DIGITS = 16  # of a digest: 64 bits, which two of a million pictures share with a probability of 3e-8


class Seen(BaseModel):
    """The pictures of a source by their digests, each as often as it is there."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    settings: str  # digest of what decides which pictures are refused
    every: PositiveInt  # a power of two, by which all digests below are divisible
    kept: list[NonNegativeInt]
    refused: list[NonNegativeInt]

    def thinned(self, every: int) -> "Seen":
        """Return only the pictures whose digests are divisible by ``every``."""
        kept, refused = ([digest for digest in digests if digest % every == 0] for digests in (self.kept, self.refused))
        return self.model_copy(update={"every": every, "kept": kept, "refused": refused})


class New(NamedTuple):
    """How many pictures came since an earlier night, of those that are held."""

    pictures: int
    refused: int  # of these
    every: int  # how many pictures each of them stands for


def look() -> Seen:
    """Return the pictures of the source as ingest has left them.

    Raises:
        InputError: ingest has not run to its end, or what it wrote is damaged.
    """
    indexes = list_shards(CORPUS, SUFFIX)
    records = [read_sidecar(sidecar_of(path, SUFFIX)) for path in indexes]
    pictures = sum(record.done + len(record.notes) for record in records)
    every = 1 << max(0, math.ceil(math.log2(max(1, pictures) / HELD)))
    kept: list[int] = []
    refused: list[int] = []
    for path, record in zip(indexes, records, strict=True):
        digests = read_columns(path, {"pixels": "string"})["pixels"].to_pylist()
        kept.extend(_divisible(digests, every))
        refused.extend(_divisible((note["digest"] for note in record.notes), every))
    return Seen(settings=records[0].settings, every=every, kept=kept, refused=refused)


def _divisible(digests: Iterable[str], every: int) -> Iterator[int]:
    """Return the numbers of the first HEX_DIGITS of some digests, those that ``every`` divides."""
    numbers = (int(digest[:HEX_DIGITS], 16) for digest in digests)
    return (number for number in numbers if number % every == 0)


def read_seen() -> Seen | None:
    """Return the pictures that earlier nights had; None before the first night.

    Raises:
        InputError: the file is damaged.
    """
    try:
        return Seen.model_validate_json(SEEN.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise InputError(f"{SEEN}: damaged; remove it, after which all pictures of the next night count as seen") from error


def keep_seen(seen: Seen) -> None:
    """Record the pictures of a night; in later nights, any others are new."""
    write_text(SEEN, seen.model_dump_json())


def count_new(seen: Seen, before: Seen | None) -> New | None:
    """Return how many pictures are new.

    None if that cannot be known: this is the first night, or the settings of ingest, which may now refuse old pictures, differ.
    """
    if before is None or before.settings != seen.settings:
        return None
    every = max(seen.every, before.every)
    now, then = seen.thinned(every), before.thinned(every)
    kept, refused = (
        (Counter(here) - Counter(there)).total() for here, there in ((now.kept, then.kept), (now.refused, then.refused))
    )
    return New(pictures=kept + refused, refused=refused, every=every)


def find_refused(new: New | None, limit: float) -> str | None:
    """Return a line if too many of the new pictures were refused, unless these are fewer than FEW.

    Args:
        new: see :func:`count_new`.
        limit: ``ingest.max_refused``, which holds for new pictures too.
    """
    if new is None or new.pictures < FEW or new.refused / new.pictures <= limit:
        return None
    pictures, refused = (count * new.every for count in (new.pictures, new.refused))
    return f"ingest.max_refused = {limit}: of {pictures:,} pictures that came since an earlier night {refused:,} were refused"
