"""What became of the URLs of a list: the pictures that came, and why others did not."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from stages.core.files import read_written
from stages.core.params_ingest import Source, WebDatasetSource
from stages.corpus.parts import printable
from stages.corpus.places import resolve

STATISTICS = "statistics.json"  # in the folder of a list that is whole
SHOWN_REASONS = 20  # the commonest ones
OTHER = "other reasons"
HTTP_ERROR = re.compile(r"HTTP Error (\d{3})\b")
URL_ERROR = re.compile(r"<urlopen error (?:\[Errno -?\d+\] )?(.*)>", re.DOTALL)  # what urllib wraps other errors in


class Statistics(BaseModel):
    """What became of a list."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    urls: NonNegativeInt  # that were asked for
    pictures: NonNegativeInt  # that came
    failed: dict[str, NonNegativeInt]  # reason → URLs
    left_out: dict[str, NonNegativeInt]  # reason → rows of the metadata that were not asked for


class _Shard(BaseModel):
    """What img2dataset says of a shard, as far as it is needed."""

    model_config = ConfigDict(frozen=True, strict=True)

    count: NonNegativeInt
    successes: NonNegativeInt
    status_dict: dict[str, NonNegativeInt]


def gather(folder: Path, left_out: Counter[str]) -> Statistics:
    """Return what became of a list, from the statistics that img2dataset writes for each shard.

    Args:
        folder: that of the shards.
        left_out: rows of the metadata that were not asked for, by reason.

    Raises:
        InputError: the statistics of a shard are damaged.
    """
    urls, pictures, failed = 0, 0, Counter[str]()
    for path in _of_shards(folder):
        shard = read_written(path, _Shard.model_validate_json)
        urls, pictures = urls + shard.count, pictures + shard.successes
        for reason, count in shard.status_dict.items():
            if reason != "success":
                failed[_kind(reason)] += count
    shown = dict(failed.most_common(SHOWN_REASONS))
    if len(failed) > len(shown):
        shown[OTHER] = failed.total() - sum(shown.values())
    return Statistics(urls=urls, pictures=pictures, failed=shown, left_out=dict(left_out))


def read_downloads(source: Source, downloads: str) -> Statistics | None:
    """Return what became of the URLs of all lists together, by commonness; None if the stages read none.

    Args:
        source: that the stages read.
        downloads: ``download.folder``, the folder of all lists.

    Raises:
        InputError: the statistics of a list are damaged.
    """
    folder = Path(resolve(downloads)).resolve()
    if not isinstance(source, WebDatasetSource) or not Path(resolve(source.path)).resolve().is_relative_to(folder):
        return None
    lists = [read_written(path, Statistics.model_validate_json) for path in sorted(folder.glob(f"*/{STATISTICS}"))]
    return _total(lists) if lists else None


def _total(lists: Sequence[Statistics]) -> Statistics:
    failed, left_out = Counter[str](), Counter[str]()
    for each in lists:
        failed.update(each.failed)
        left_out.update(each.left_out)
    return Statistics(
        urls=sum(each.urls for each in lists),
        pictures=sum(each.pictures for each in lists),
        failed=dict(failed.most_common()),
        left_out=dict(left_out.most_common()),
    )


def forget_damaged(folder: Path) -> None:
    """Remove statistics that a kill or a full disk has left half-written, so that img2dataset fetches their shards again."""
    for path in _of_shards(folder):
        try:
            _Shard.model_validate_json(path.read_bytes())
        except ValidationError:
            path.unlink()


def forget_poor(folder: Path, least: float) -> None:
    """Remove the statistics of shards in which less than the share ``least`` of the URLs gave a picture: they come again."""
    for path in _of_shards(folder):
        shard = read_written(path, _Shard.model_validate_json)
        if shard.successes < least * shard.count:
            path.unlink()


def _of_shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*_stats.json"))


def _kind(reason: str) -> str:
    """Return a reason without what differs from URL to URL: numbers, and the words that a server adds to its code."""
    if wrapped := URL_ERROR.fullmatch(reason):
        reason = wrapped[1]
    error = HTTP_ERROR.match(reason)
    return error[0] if error is not None else printable(re.sub(r"\d+", "…", reason))
