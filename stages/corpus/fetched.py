"""What became of the URLs of a list: the pictures that came, and why others did not."""

import re
from collections import Counter
from pathlib import Path

from pydantic import BaseModel, ConfigDict, NonNegativeInt

from stages.core.files import read_json
from stages.corpus.parts import printable

SHOWN_REASONS = 20  # the commonest ones
OTHER = "other reasons"
HTTP_ERROR = re.compile(r"HTTP Error (\d{3})\b")


class Statistics(BaseModel):
    """What became of a list."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    urls: NonNegativeInt  # that were asked for
    pictures: NonNegativeInt  # that came
    failed: dict[str, NonNegativeInt]  # reason → URLs
    left_out: dict[str, NonNegativeInt]  # reason → rows of the metadata that were not asked for


def gather(folder: Path, left_out: Counter[str]) -> Statistics:
    """Return what became of a list, from the statistics that img2dataset writes for each shard.

    Args:
        folder: that of the shards.
        left_out: rows of the metadata that were not asked for, by reason.
    """
    urls, pictures, failed = 0, 0, Counter[str]()
    for path in sorted(folder.glob("*_stats.json")):
        record = read_json(path)
        urls, pictures = urls + record["count"], pictures + record["successes"]
        for reason, count in record["status_dict"].items():
            if reason != "success":
                failed[_kind(reason)] += count
    shown = dict(failed.most_common(SHOWN_REASONS))
    if len(failed) > len(shown):
        shown[OTHER] = failed.total() - sum(shown.values())
    return Statistics(urls=urls, pictures=pictures, failed=shown, left_out=dict(left_out))


def _kind(reason: str) -> str:
    """Return a reason without what differs from URL to URL: numbers, and the words that a server adds to its code."""
    error = HTTP_ERROR.match(reason)
    return error[0] if error is not None else printable(re.sub(r"\d+", "…", reason))
