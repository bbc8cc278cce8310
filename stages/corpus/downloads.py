"""From lists of URLs to tars that the source ``webdataset`` reads: img2dataset fetches what passes the filters, list by list.

A file of metadata is a list, and has a folder of tars, named after the file and what decides its content. It is made below
``partial`` and renamed when it is whole, with its statistics in it, so a run that was cut off resumes at its next shard, a list
that is there is not fetched again, and no stage reads half of one. A list too few of whose URLs gave a picture stays below
``partial``. Folders that no list names any more move below ``old``: they come back without a download if they are wanted again.
"""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.common.text import one_line
from stages.core.counts import StageCounts
from stages.core.digests import Digests
from stages.core.errors import InputError
from stages.core.files import read_written, remove, value_digest, write_json
from stages.core.params import Params
from stages.core.params_download import Download
from stages.core.paths import IMG2DATASET
from stages.corpus import fetching
from stages.corpus.fetched import STATISTICS, Statistics, forget_damaged, forget_poor, gather
from stages.corpus.filters import Filters
from stages.corpus.parts import shard_name
from stages.corpus.url_lists import TEXT, URL, Metadata, metadata_files, open_metadata, write_list

PARTIAL, OLD = "partial", "old"
SHARD_SIZE = 10_000  # URLs of a tar
QUIET = {"WANDB_MODE": "disabled", "NO_ALBUMENTATIONS_UPDATE": "1"}  # img2dataset's libraries report to nobody
MOST_BYTES = 2**25  # of a picture
OPENCV_LIMIT = "OPENCV_IO_MAX_IMAGE_PIXELS"  # of a picture that img2dataset decodes; 2^30 by default
MOST_REASONS = 3  # that a list with too few pictures is reported with, the commonest
MOST_SILENCES = 6  # a download takes so many times ``download.timeout`` at most


@dataclass(frozen=True, kw_only=True)
class _List:
    """A list of URLs, and where its pictures go."""

    metadata: Metadata
    filters: Filters
    max_pixels: int  # of a picture
    section: Download
    name: str  # of its folder

    @property
    def folder(self) -> Path:
        """The folder of its tars, when they are whole."""
        return Path(self.section.folder) / self.name

    @property
    def partial(self) -> Path:
        """The folder in which they are made."""
        return Path(self.section.folder) / PARTIAL / self.name

    def whole(self) -> Statistics:
        """Return what became of it when it was fetched.

        Raises:
            InputError: the file that says so is damaged.
        """
        return read_written(self.folder / STATISTICS, Statistics.model_validate_json)

    def is_poor(self, statistics: Statistics) -> bool:
        """Whether too few of its URLs gave a picture."""
        return statistics.pictures < self.section.min_success * statistics.urls


def download(params: Params) -> tuple[StageCounts, list[str]]:
    """Fetch the pictures of all lists that are not there yet.

    Returns:
        What came and what did not, by reason; and a line for each list that is not taken for downloaded, because too few of its
        URLs gave a picture. The counts leave these lists out, and their earlier versions stay.

    Raises:
        InputError: a list cannot be read or fetched.
    """
    section = params.download
    counts = StageCounts(stage="download")
    found: list[Statistics] = []
    poor: dict[str, str] = {}  # name of a list → what is wrong
    with _alone(Path(section.folder)) as lock:
        lists = list(_lists(params))
        for each in lists:
            _bring_back(each)
            is_new = not (each.folder / STATISTICS).exists()
            statistics = _fetch(each, lock) if is_new else each.whole()
            if is_new and each.is_poor(statistics):
                poor[each.name] = _complaint(each, statistics)
                continue
            found.append(statistics)
            counts.shards_done, counts.shards_reused = counts.shards_done + is_new, counts.shards_reused + (not is_new)
            counts.done += statistics.pictures * is_new
            counts.reused += statistics.pictures * (not is_new)
        _put_away(Path(section.folder), {each.name for each in lists}, {_stem(name) for name in poor})
    for statistics in found:
        counts.dropped.update(statistics.left_out)
        counts.dropped.update(statistics.failed)
    urls = sum(each.urls for each in found)
    counts.figures["success rate"] = (counts.done + counts.reused) / urls if urls else 0.0
    return counts, list(poor.values())


@contextmanager
def _alone(folder: Path) -> Iterator[int]:
    """Hold the folder of the downloads, and yield the descriptor of its lock, which lasts until all that hold it have ended."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{folder}: another iedit download is at work in this folder; try again when it has ended"
            ) from None
        yield file.fileno()


def _lists(params: Params) -> Iterator[_List]:
    """Yield the list of each file of metadata; its name stands for the file's bytes and the parameters that decide the tars."""
    section, filters, max_pixels = params.download, params.ingest.filters, params.ingest.max_pixels
    settings = section.model_dump(include={"url", "text", "size"})
    rules = {name: each.model_dump() for name, each in filters.items()}
    with Digests() as digests:
        for path in metadata_files(section):
            metadata = open_metadata(path, section, filters)
            digest = value_digest([path.name, digests.of(path), settings, rules])
            name = f"{shard_name(path.stem)[:48]}-{digest[:12]}"
            yield _List(metadata=metadata, filters=filters, max_pixels=max_pixels, section=section, name=name)


def _stem(name: str) -> str:
    """Return what the versions of a list have in common in the names of their folders."""
    return name.rpartition("-")[0]


def _bring_back(each: _List) -> None:
    old = Path(each.section.folder) / OLD / each.name
    if old.is_dir() and not each.folder.exists():
        old.rename(each.folder)


def _put_away(folder: Path, wanted: Collection[str], missing: Collection[str]) -> None:
    """Move the folders of lists that are not wanted below ``old``, where no glob of tars finds them.

    Args:
        folder: of all lists.
        wanted: names of folders that stay.
        missing: stems of lists whose new version has not come, so the one before it stays.
    """
    for path in sorted(folder.glob(f"*/{STATISTICS}")):
        if path.parent.name not in wanted and _stem(path.parent.name) not in missing:
            (folder / OLD).mkdir(exist_ok=True)
            path.parent.rename(folder / OLD / path.parent.name)


def _fetch(each: _List, lock: int) -> Statistics:
    """Fetch the pictures of a list, and return what became of it. A poor list stays where it is made.

    Of a list that was poor in an earlier run the poor shards are fetched again, unless ``download.min_success`` now allows it.

    Raises:
        InputError: img2dataset failed; what has come stays, to resume from.
    """
    each.partial.mkdir(parents=True, exist_ok=True)
    remove(each.partial / STATISTICS)  # of a run that was killed before it renamed the folder
    forget_damaged(each.partial)
    urls = each.partial.with_suffix(".urls")  # beside the folder, in which img2dataset takes every JSON file for its own
    count, left_out = write_list(each.metadata, each.filters, urls)
    statistics = gather(each.partial, left_out)
    if statistics.urls == count and each.is_poor(statistics):
        forget_poor(each.partial, each.section.min_success)
        statistics = gather(each.partial, left_out)
    if statistics.urls != count:
        _run(each, urls, lock)
        statistics = gather(each.partial, left_out)
    if statistics.urls != count:
        raise InputError(f"{each.metadata.path}: {count - statistics.urls} of {count} URLs were not tried; run again")
    if not each.is_poor(statistics):
        write_json(each.partial / STATISTICS, statistics.model_dump())
        each.partial.rename(each.folder)
        remove(urls)
    return statistics


def _complaint(each: _List, statistics: Statistics) -> str:
    reasons = sorted(statistics.failed.items(), key=lambda item: (-item[1], item[0]))[:MOST_REASONS]
    failed = "".join(f", {count} failed for: {reason}" for reason, count in reasons)
    return (
        f"download.min_success = {each.section.min_success}: of {statistics.urls} URLs of {each.metadata.path}"
        f" {statistics.pictures} gave a picture{failed}"
    )


def _run(each: _List, urls: Path, lock: int) -> None:
    """Run img2dataset on a list; it skips the shards that are whole. Its output goes to ours, line by line and printable.

    It holds the lock too, because it goes on where this process is killed.
    """
    section = each.section
    kept = list(each.metadata.kept.values())
    options: dict[str, Any] = {
        "url_list": str(urls),
        "input_format": "parquet",
        "url_col": URL,
        "caption_col": TEXT,
        "save_additional_columns": kept or None,
        "output_folder": str(each.partial),
        "output_format": "webdataset",
        "number_sample_per_shard": SHARD_SIZE,
        "processes_count": section.processes,
        "thread_count": section.threads,
        "timeout": section.timeout,
        "retries": section.retries,
        "user_agent_token": section.user_agent,
        "extract_exif": False,
        "compute_hash": None,
        "image_size": section.size or 256,
        "resize_mode": "keep_ratio",
        "resize_only_if_bigger": True,
        "disable_all_reencoding": section.size is None,
    }
    bounds = {
        "most_bytes": MOST_BYTES,
        "most_seconds": MOST_SILENCES * section.timeout,
        "private_addresses": section.private_addresses,
    }
    command = [str(_python()), "-P", fetching.__file__, json.dumps(options)]  # -P: the modules beside it are not for it
    variables = {**os.environ, **QUIET, fetching.BOUNDS: json.dumps(bounds), "PYTHONUNBUFFERED": "1"}
    variables |= {OPENCV_LIMIT: str(each.max_pixels)}
    variables.pop("PYTHONPATH", None)  # of this environment
    with subprocess.Popen(
        command,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        errors="replace",
        pass_fds=[lock],
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(one_line(line), flush=True)
    if process.returncode:
        raise InputError(f"{each.metadata.path}: img2dataset ended with exit code {process.returncode}; run again to resume")


def _python() -> Path:
    """Return the interpreter of img2dataset's environment, which is made when it is first needed.

    Raises:
        InputError: it cannot be made.
    """
    made = IMG2DATASET / "installed"
    if not made.exists():
        print(f"installing img2dataset in {IMG2DATASET}", file=sys.stderr)
        try:
            subprocess.run(["make", str(made)], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise InputError(f"{IMG2DATASET}: img2dataset cannot be installed: {one_line(str(error))}") from error
    return IMG2DATASET / "bin" / "python"
