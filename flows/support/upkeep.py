"""What a person should look at: a disk that fills, a champion that grows old, one with which nothing is compared."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event
from prefect.settings import get_current_settings

from flows.support.automations import UPKEEP
from flows.support.dag import local_remote
from stages.core.disk import GIGABYTE
from stages.core.params_file import read_params
from stages.tracking.data_retention import cache_folder
from stages.tracking.errors import store_errors_in_one_line

PROJECT = {"prefect.resource.id": "iedit.project", "prefect.resource.name": "iedit"}


@task(cache_policy=NO_CACHE)
def check_upkeep() -> None:
    """Warn of what is in need of care, by the bounds of params.yaml.

    It is not tried again, because the night waits for it.
    """
    bounds = read_params().upkeep
    # One after another: a full disk is sent even if it keeps MLflow from answering.
    for message in chain(_full_disks(bounds.min_free), _old_champion(bounds.champion_days), _foreign_champion()):
        warn(message)


def warn(message: str) -> None:
    """Log what a person should look at, and send it as an event, for which the server has an automation."""
    get_run_logger().warning(message)
    emit_event(UPKEEP, resource=PROJECT, payload={"message": message})


def _full_disks(min_free: float) -> Iterator[str]:
    places = (get_current_settings().home, local_remote(), cache_folder(), Path.cwd())
    folders = {place.stat().st_dev: place for place in places if place is not None and place.exists()}
    for folder in folders.values():
        free = shutil.disk_usage(folder).free / GIGABYTE
        if free < min_free:
            yield f"{folder}: {free:,.1f} GB free, should be {min_free:,.1f}; iedit prune --dry-run prints what could go"


def _old_champion(days: int) -> Iterator[str]:
    from stages.tracking.history import champion_since
    from stages.tracking.store import connect

    with store_errors_in_one_line():
        champion = champion_since(connect())
    if champion is not None:
        version, since = champion
        age = (datetime.now(UTC) - since).days
        if age > days:
            yield f"models:/iedit@champion: version {version} is {age} days old, should be {days} at most"


def _foreign_champion() -> Iterator[str]:
    from stages.tracking.promotion import ways_out
    from stages.tracking.registry import ForeignVersionError, current_champion

    try:
        with store_errors_in_one_line():
            current_champion()
    except ForeignVersionError as error:
        yield f"the champion {error}; {ways_out('VERSION')}"
