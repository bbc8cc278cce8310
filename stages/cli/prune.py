"""``iedit prune``: remove what no version, branch or experiment needs any more."""

import argparse
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.disk import GIGABYTE, used_gigabytes
from stages.core.errors import InputError
from stages.core.files import read_json
from stages.core.params_file import read_params
from stages.core.run import alone
from stages.tracking.location import check_store

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from stages.tracking.retention import Retention

MEGABYTE = 1_000_000


def prune(options: argparse.Namespace) -> None:
    """Remove unneeded data, old versions, the files of models without a version, and checkpoints; print what goes.

    What no option says, the section ``upkeep`` of params.yaml does. Fewer versions stay than ``keep`` as long as the project
    takes more of the disk than ``max_used``, down to one besides those in use; none goes if all that may go would not suffice.

    Raises:
        InputError: ``--keep`` is below 1, a stage is at work in this folder, there is no such remote, the last version is in
            another store, or what is needed cannot be determined: nothing was removed. Or DVC cannot remove the data: a part
            may be gone.
        ParameterError: params.yaml is invalid.
    """
    if options.keep is not None and options.keep < 1:
        raise InputError(f"--keep {options.keep}: at least 1 version is kept")
    check_store()  # before the slow imports

    from stages.tracking.errors import store_errors_in_one_line
    from stages.tracking.last_store import check_store_is_last
    from stages.tracking.retention import plan_retention
    from stages.tracking.store import connect
    from stages.tracking.workspaces import left_over

    upkeep = read_params().upkeep
    newest = options.keep or upkeep.keep
    most = upkeep.max_used if options.max_used is None else options.max_used
    remote = options.remote or upkeep.prune_remote
    check_store_is_last()
    with alone("iedit prune", wait=False), store_errors_in_one_line():
        client = connect(create=False)  # a store whose disk is full can be read
        for copy in left_over():
            print(f"{copy}: a killed experiment has left it; its data are not kept, remove the folder", file=sys.stderr)
        _apply(client, plan_retention(client, newest), remote, remove=not options.dry_run)
        spare = _find_spare(client, most)
        if spare is not None and not options.dry_run and spare.excess <= spare.gigabytes:
            spare = _make_room(client, newest, most, remote)
    print("nothing was removed: --dry-run" if options.dry_run else "removed")
    if spare is not None:
        print(spare)


@dataclass(frozen=True, kw_only=True)
class Spare:
    """What may still go where the project takes too much of the disk: all versions but the newest one and those in use."""

    excess: float  # GB that the project's folder and DVC's cache take above their bound
    most: float  # GB, the bound
    versions: list[str]
    gigabytes: float  # of the folder and the cache that the versions alone need

    def __str__(self) -> str:
        """Return it as a line, which flows/support/tasks.py sends as an alert."""
        may_go = f"versions {', '.join(self.versions)} may go, which alone need {self.gigabytes:,.1f} GB"
        takes = f"takes {self.most + self.excess:,.1f} GB with DVC's cache, should take {self.most:,.1f} at most"
        return f"{Path.cwd()}: {takes}: {may_go if self.versions else 'no version may go'}"


def _excess(most: float | None) -> float:
    """Return how many GB the project's folder and DVC's cache take above ``most``."""
    from stages.tracking.data_retention import cache_folder

    return 0.0 if most is None else used_gigabytes([Path.cwd(), cache_folder()]) - most


def _find_spare(client: "MlflowClient", most: float | None) -> Spare | None:
    """Return what may still go, or None if the project takes ``most`` GB at most."""
    from stages.tracking.data_retention import find_unneeded
    from stages.tracking.record import local_folders
    from stages.tracking.retention import plan_retention

    if most is None or (excess := _excess(most)) <= 0:
        return None
    least, gigabytes = plan_retention(client, 1), 0.0
    if least.dropped:
        (cache,) = find_unneeded(list(_records(client, least)), None, remove=False)
        gigabytes = cache.bytes / GIGABYTE + used_gigabytes(local_folders([model.model_id for model in least.models]))
    return Spare(excess=excess, most=most, versions=least.dropped, gigabytes=gigabytes)


def _make_room(client: "MlflowClient", newest: int, most: float | None, remote: str | None) -> Spare | None:
    """Keep one version less after another until the project takes ``most`` GB, or return what it takes with one."""
    from stages.tracking.retention import plan_retention

    for keep in range(newest - 1, 0, -1):
        retention = plan_retention(client, keep)
        if retention.dropped:
            _apply(client, retention, remote, remove=True)
            if _excess(most) <= 0:
                return None
    return _find_spare(client, most)


def _apply(client: "MlflowClient", retention: "Retention", remote: str | None, *, remove: bool) -> None:
    """Remove what a plan drops, and the data that nothing needs then.

    Args:
        client: a client of the store.
        retention: the plan.
        remote: a remote of DVC to clean too.
        remove: whether to remove it, or only to print it.
    """
    from stages.tracking.data_retention import find_unneeded
    from stages.tracking.retention import apply_retention

    records = list(_records(client, retention))
    _print_plan(retention)
    for place in find_unneeded(records, remote, remove=remove):  # first: if it raises, all versions stay
        print(f"data       {place.objects:,} objects, {place.bytes / MEGABYTE:,.1f} MB, in the {place.place}")
    if remove:
        apply_retention(client, retention)


def _records(client: "MlflowClient", retention: "Retention") -> Iterable[dict[str, Any]]:
    """Yield the records of all models that stay, of this store and of another one in this folder.

    A version without a record, such as one that others have registered, is named, because nothing protects its data.

    Raises:
        InputError: a record is damaged, or the files of a version of ours are not there: the disk may be away that has its
            record.
    """
    from stages.tracking.record import RECORD, fetch_record, has_files, read_local_records
    from stages.tracking.registry import find_version

    local, going = read_local_records(), {model.model_id for model in retention.models}
    yield from (record for model, record in local.items() if model not in going)
    for number in retention.kept:
        version = None
        with tempfile.TemporaryDirectory() as folder:
            try:
                version = find_version(number)
                if version.model_id not in local:
                    yield read_json(fetch_record(client, version, Path(folder)) / RECORD)
            except InputError as error:
                if version is not None and not has_files(client, number):  # others register what lies anywhere
                    raise InputError(
                        f"version {number}: its files are not there, so the data that it needs are unknown"
                    ) from error
                print(f"version {number}: its data are not kept: {error}", file=sys.stderr)


def _print_plan(retention: "Retention") -> None:
    for version, reasons in retention.kept.items():
        print(f"keeps      version {version}: {', '.join(reasons)}")
    print(f"versions   {', '.join(retention.dropped) or 'none'}")
    print(f"models     {len(retention.models)} without a version that stays")
    print(f"runs       {len(retention.checkpoints)} lose their checkpoints, {len(retention.open)} that a kill left open end")
