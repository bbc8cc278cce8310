"""Shards that tests make in their own process."""

from pathlib import Path

from stages.core.earlier import Contents
from stages.core.shards import SERIAL, InProcess, ShardTask, StageCounts, Work, map_shards


def map_in_process(
    work: Work,
    tasks: list[ShardTask],
    folder: Path,
    suffix: str | tuple[str, ...],
    settings: dict | None = None,
    contents: Contents | None = None,
) -> StageCounts:
    """Make shards by a function."""
    return map_shards(
        stage="test",
        tasks=tasks,
        folder=folder,
        suffixes=(suffix,) if isinstance(suffix, str) else suffix,
        settings=settings or {},
        worker=InProcess(work),
        execution=SERIAL,
        contents=contents,
    )
