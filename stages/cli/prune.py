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
        InputError: ``--keep`` is below 1, a stage is at work in this folder, there is no such remote, or what is needed cannot
            be determined: nothing was removed. Or DVC cannot remove the data: a part may be gone.
        ParameterError: params.yaml is invalid.
    """
    if options.keep is not None and options.keep < 1:
        raise InputError(f"--keep {options.keep}: at least 1 version is kept")
    check_store()  # before the slow imports

    from stages.tracking.data_retention import cache_folder
    from stages.tracking.errors import store_errors_in_one_line
    from stages.tracking.store import connect

    upkeep = read_params().upkeep
    newest = options.keep or upkeep.keep
    most = upkeep.max_used if options.max_used is None else options.max_used
    remote = options.remote or upkeep.prune_remote
    folders = [Path.cwd(), cache_folder()]
    with alone("iedit prune", wait=False), store_errors_in_one_line():
        client = connect(create=False)  # a store whose disk is full can be read
        _prune_to(client, newest, remote, remove=not options.dry_run)
        excess = 0.0 if most is None else used_gigabytes(folders) - most
        spare = _spare(client, newest) if excess > 0 else Spare(versions=[], gigabytes=0.0)
        for keep in range(newest - 1, 0, -1):
            if options.dry_run or not 0 < excess <= spare.gigabytes:
                break
            _prune_to(client, keep, remote, remove=True)
            excess = used_gigabytes(folders) - most if most is not None else 0.0
    print("nothing was removed: --dry-run" if options.dry_run else "removed")
    if excess > 0 and most is not None:
        print(f"the project and DVC's cache take {most + excess:,.1f} GB, should take {most:,.1f} at most: {spare}")


@dataclass(frozen=True, kw_only=True)
class Spare:
    """What may still go where the disk is short: all versions but the newest one and those in use."""

    versions: list[str]
    gigabytes: float  # of the project's folder and DVC's cache that they alone need

    def __str__(self) -> str:
        """Return what may go in words."""
        names = f"versions {', '.join(self.versions)} may go" if self.versions else "no version may go"
        return f"{names}, which alone need {self.gigabytes:,.1f} GB" if self.versions else names


def _spare(client: "MlflowClient", keep: int) -> Spare:
    """Return what may go of the newest ``keep`` versions."""
    from stages.tracking.data_retention import find_unneeded
    from stages.tracking.record import local_folders
    from stages.tracking.retention import plan_retention

    least = plan_retention(client, 1)
    if keep == 1 or not least.dropped:
        return Spare(versions=[], gigabytes=0.0)
    (cache,) = find_unneeded(list(_records(client, least)), None, remove=False)
    models = local_folders([model.model_id for model in least.models])
    return Spare(versions=least.dropped, gigabytes=cache.bytes / GIGABYTE + used_gigabytes(models))


def _prune_to(client: "MlflowClient", keep: int, remote: str | None, *, remove: bool) -> None:
    """Remove everything but the newest ``keep`` versions and what they need.

    Args:
        client: a client of the store.
        keep: at least 1.
        remote: a remote of DVC to clean too.
        remove: whether to remove it, or only to print it.
    """
    from stages.tracking.data_retention import find_unneeded
    from stages.tracking.retention import apply_retention, plan_retention

    retention = plan_retention(client, keep)
    records = list(_records(client, retention))
    _print_plan(retention)
    for place in find_unneeded(records, remote, remove=remove):  # first: if it raises, all versions stay
        print(f"data       {place.objects:,} objects, {place.bytes / MEGABYTE:,.1f} MB, in the {place.place}")
    if remove:
        apply_retention(client, plan_retention(client, keep))  # that search is long: an alias may have moved meanwhile


def _records(client: "MlflowClient", retention: "Retention") -> Iterable[dict[str, Any]]:
    """Yield the records of all models that stay, of this store and of another one in this folder.

    A version without a record is named, because nothing protects its data.

    Raises:
        InputError: a record is damaged, or a version's files are not there: the disk may be away that has its record.
    """
    from stages.tracking.record import RECORD, fetch_record, has_files, read_local_records
    from stages.tracking.registry import find_version

    local, going = read_local_records(), {model.model_id for model in retention.models}
    yield from (record for model, record in local.items() if model not in going)
    for number in retention.kept:
        with tempfile.TemporaryDirectory() as folder:
            try:
                version = find_version(number)
                if version.model_id not in local:
                    yield read_json(fetch_record(client, version, Path(folder)) / RECORD)
            except InputError as error:
                if not has_files(client, number):
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
