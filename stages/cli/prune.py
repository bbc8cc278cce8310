"""``iedit prune``: remove what no version, branch or experiment needs any more."""

import argparse
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.errors import InputError
from stages.core.files import read_json
from stages.core.run import alone
from stages.tracking.location import check_store

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from stages.tracking.retention import Retention

MEGABYTE = 1_000_000


def prune(options: argparse.Namespace) -> None:
    """Remove unneeded data, old versions, the files of models without a version, and checkpoints; print what goes.

    Raises:
        InputError: ``--keep`` is below 1, a stage is at work in this folder, there is no such remote, or what is needed cannot
            be determined: nothing was removed. Or DVC cannot remove the data: a part may be gone.
    """
    if options.keep < 1:
        raise InputError(f"--keep {options.keep}: at least 1 version is kept")
    check_store()  # before the slow imports

    from stages.tracking.data_retention import find_unneeded
    from stages.tracking.errors import store_errors_in_one_line
    from stages.tracking.retention import apply_retention, plan_retention
    from stages.tracking.store import connect

    removes = not options.dry_run
    with alone("iedit prune", wait=False), store_errors_in_one_line():
        client = connect()
        retention = plan_retention(client, options.keep)
        records = list(_records(client, retention.kept))
        _print_plan(retention)
        for place in find_unneeded(records, options.remote, remove=removes):  # first: if it raises, every version stays
            print(f"data       {place.objects:,} objects, {place.bytes / MEGABYTE:,.1f} MB, in the {place.place}")
        if removes:
            apply_retention(client, retention)
    print("removed" if removes else "nothing was removed: --dry-run")


def _records(client: "MlflowClient", versions: Iterable[str]) -> Iterable[dict[str, Any]]:
    """Yield the records of versions; one without a record is named, because nothing protects its data."""
    from stages.tracking.record import RECORD, fetch_record
    from stages.tracking.registry import find_version

    for number in versions:
        with tempfile.TemporaryDirectory() as folder:
            try:
                yield read_json(fetch_record(client, find_version(number), Path(folder)) / RECORD)
            except InputError as error:
                print(f"version {number}: its data are not kept: {error}", file=sys.stderr)


def _print_plan(retention: "Retention") -> None:
    for version, reasons in retention.kept.items():
        print(f"keeps      version {version}: {', '.join(reasons)}")
    print(f"versions   {', '.join(retention.dropped) or 'none'}")
    print(f"models     {len(retention.models)} without a version that stays")
    print(f"runs       {len(retention.checkpoints)} lose their checkpoints")
