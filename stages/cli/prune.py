"""``iedit prune``: remove what no version, branch or experiment needs any more."""

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.disk import GIGABYTE, used_gigabytes
from stages.core.errors import InputError
from stages.core.params_file import read_params
from stages.core.run import alone
from stages.tracking.location import check_store

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

    from stages.tracking.data_retention import Search
    from stages.tracking.record import Record
    from stages.tracking.retention import Retention

MEGABYTE = 1_000_000


def prune(options: argparse.Namespace) -> None:
    """Remove unneeded data, old versions, the files of models without a version, and checkpoints; print what goes.

    What no option says, the section ``upkeep`` of params.yaml does. Fewer versions stay than ``keep`` as long as the project,
    without its downloads, takes more of the disk than ``max_used``, down to one besides those in use; none goes if all that may
    go would not suffice.

    Raises:
        InputError: ``--keep`` is below 1, ``--max-used`` not above 0, a stage is at work in this folder, there is no such
            remote, the last version is in another store, or what is needed cannot be determined: nothing was removed. Or DVC
            cannot remove the data: a part may be gone.
        ParameterError: params.yaml is invalid.
    """
    if options.keep is not None and options.keep < 1:
        raise InputError(f"--keep {options.keep}: at least 1 version is kept")
    if options.max_used is not None and not options.max_used > 0:  # nor is "nan"
        raise InputError(f"--max-used {options.max_used:g}: must be a number of GB above 0")
    check_store()  # before the slow imports

    from stages.tracking.data_retention import search
    from stages.tracking.errors import store_errors_in_one_line
    from stages.tracking.last_store import check_store_is_last
    from stages.tracking.store import connect
    from stages.tracking.workspaces import left_over

    params = read_params()
    upkeep, downloads = params.upkeep, Path.cwd() / params.download.folder
    newest = options.keep or upkeep.keep
    most = upkeep.max_used if options.max_used is None else options.max_used
    check_store_is_last()
    with alone("iedit prune", wait=False), store_errors_in_one_line():
        client = connect(create=False)  # a store whose disk is full can be read
        for copy in left_over():
            print(f"{copy}: a killed experiment has left it; its data are not kept, remove the folder", file=sys.stderr)
        data = search(options.remote or upkeep.prune_remote, own_cache=upkeep.own_cache)  # slow, so before a plan is made
        for line in data.left:
            print(f"data       {line}")
        apply = partial(_apply, client, data, keep_checkpoints_of=upkeep.keep_checkpoints_of)
        has_gone = apply(newest, remove=not options.dry_run)
        spare = _find_spare(client, data, newest, most, downloads)
        while spare is not None and spare.keep is not None and not options.dry_run:
            has_gone |= apply(spare.keep, remove=True)
            spare = _find_spare(client, data, spare.keep, most, downloads)  # what went may take less than it seemed
    print("nothing was removed: --dry-run" if options.dry_run else "removed" if has_gone else "there was nothing to remove")
    if spare is not None:
        print(spare)


@dataclass(frozen=True, kw_only=True)
class Spare:
    """What may still go where the project takes too much of the disk: all versions but the newest one and those in use."""

    excess: float  # GB that the project's folder, perhaps with DVC's cache, takes above its bound
    most: float  # GB, the bound
    versions: list[str]
    gigabytes: float  # of the folder and the cache that the versions alone need
    with_cache: bool  # whether DVC's cache counts: not one that other projects may use
    keep: int | None  # how many of the newest versions may stay if the bound is to be met; None: not even one

    def __str__(self) -> str:
        """Return it as a line, which flows/support/tasks.py sends as an alert."""
        may_go = f"versions {', '.join(self.versions)} may go, which alone need {self.gigabytes:,.1f} GB"
        cache = " with DVC's cache" if self.with_cache else ""
        takes = f"takes {self.most + self.excess:,.1f} GB{cache}, should take {self.most:,.1f} at most"
        return f"{Path.cwd()}: {takes}: {may_go if self.versions else 'no version may go'}"


def _find_spare(client: "MlflowClient", data: "Search", keep: int, most: float | None, downloads: Path) -> Spare | None:
    """Return what may still go besides what has gone, or None if the project takes ``most`` GB at most.

    Args:
        client: a client of the store.
        data: what DVC's cache and remote have that only versions may need.
        keep: how many of the newest versions stay so far.
        most: the bound; None: any number.
        downloads: a folder that does not count: no version needs less of it, and it may be most of all.
    """
    if most is None:
        return None

    from stages.tracking.data_retention import CACHE, cache_folder
    from stages.tracking.record import local_folders
    from stages.tracking.registry import model_id_of
    from stages.tracking.retention import read_stock

    with_cache = CACHE in data.unnamed
    folders = [Path.cwd(), cache_folder()] if with_cache else [Path.cwd()]
    excess = used_gigabytes(folders, without=downloads) - most
    if excess <= 0:
        return None
    stock = read_stock(client)
    records = _read_records(client, stock.split(keep)[0])

    def freed(keep: int) -> float:
        going = [model_id_of(version) for version in stock.split(keep)[1]]
        unneeded = data.unneeded(record for model, record in records.items() if model not in going)
        in_cache = sum(place.bytes for place in unneeded if place.place == CACHE)
        return in_cache / GIGABYTE + used_gigabytes(local_folders(going))

    return Spare(
        excess=excess,
        most=most,
        versions=[str(version.version) for version in stock.split(1)[1]],
        gigabytes=freed(1),
        with_cache=with_cache,
        keep=next((fewer for fewer in range(keep - 1, 0, -1) if freed(fewer) >= excess), None),
    )


def _apply(client: "MlflowClient", data: "Search", keep: int, *, keep_checkpoints_of: int, remove: bool) -> bool:
    """Remove all versions but the newest ``keep`` and those that are needed, and the data that nothing needs then.

    Args:
        client: a client of the store.
        data: what DVC's cache and remote have that only versions may need.
        keep: how many of the newest versions stay.
        keep_checkpoints_of: how many of the newest ended trainings keep their checkpoints.
        remove: whether to remove it, or only to print it.

    Returns:
        Whether anything was removed.
    """
    from stages.tracking.data_retention import CACHE
    from stages.tracking.last_store import check_store_has_versions
    from stages.tracking.retention import apply_retention, plan_retention

    retention = plan_retention(client, keep, keep_checkpoints_of=keep_checkpoints_of)
    check_store_has_versions(retention.staying)
    going = {model.model_id for model in retention.models}
    records = _read_records(client, retention.staying)
    unneeded = data.unneeded(record for model, record in records.items() if model not in going)
    _print_plan(retention)
    if remove:
        unneeded = data.remove(unneeded)  # first: if it raises, all versions stay
    for place in unneeded:
        size = _megabytes(place.bytes)
        print(f"data       {len(place.sizes):,} objects, {size}, in the {place.place}")
        if place.place == CACHE and place.sizes and data.spared is not None:
            print(f"data       up to {size} of these stay in the remote {data.spared}, which upkeep.prune_remote does not name")
    if not remove:
        return False
    gone = apply_retention(client, retention)
    return gone > 0 or any(place.sizes for place in unneeded)


def _read_records(client: "MlflowClient", versions: "Iterable[ModelVersion]") -> dict[str, "Record"]:
    """Return the records of versions, and of all models in the project's folder, also of another store, by their models.

    A version without a record, such as one that others have registered, is named, because nothing protects its data.

    Raises:
        InputError: a record is damaged, or the files of a version of ours are not there: the disk may be away that has its
            record.
    """
    from stages.tracking.record import read_local_records, read_record
    from stages.tracking.registry import DIGEST, model_id_of

    records = read_local_records()
    for version in versions:
        model = model_id_of(version)
        if model in records:
            continue
        record = read_record(client, version) if DIGEST in version.tags else None  # others register what lies anywhere
        if record is None:
            why = "has no record" if DIGEST in version.tags else "was not registered by the stage evaluate"
            print(f"version {version.version}: its data are not kept: it {why}", file=sys.stderr)
        else:
            records[model] = record
    return records


def _print_plan(retention: "Retention") -> None:
    from stages.tracking.retention import artifact_bytes
    from stages.tracking.training_run import CHECKPOINTS

    for version, reasons in retention.kept.items():
        print(f"keeps      version {version}: {', '.join(reasons)}")
    print(f"versions   {', '.join(retention.dropped) or 'none'}")
    models = sum(artifact_bytes(model.artifact_location) for model in retention.models)
    print(f"models     {len(retention.models)} without a version that stays, {_megabytes(models)}")
    checkpoints = sum(artifact_bytes(str(run.info.artifact_uri), CHECKPOINTS) for run in retention.checkpoints)
    lose = f"{len(retention.checkpoints)} lose their checkpoints, {_megabytes(checkpoints)}"
    print(f"runs       {lose}; {len(retention.open)} that a kill left open end")


def _megabytes(size: int) -> str:
    return f"{size / MEGABYTE:,.1f} MB"
