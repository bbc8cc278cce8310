"""A version made again in a clean clone, stage by stage, and compared with what was recorded of it."""

import shutil
import sys
from collections.abc import Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from stages.cli.clone import clean_clone, copy_local_files, run_dvc
from stages.core.errors import InputError
from stages.core.files import read_json
from stages.core.paths import LOCK_FILE, PARAMS_FILE
from stages.tracking.lineage import libraries, outs_of, read_stages
from stages.tracking.record import RECORD, hash_out, read_lock

INGEST = "ingest"  # the one stage whose outs are pulled where that is possible: its source may be gone
SHOWN = 5  # differing files that are named

Outs = Mapping[str, Mapping[str, Any]]


def compare_in_clone(kept: Path, into: Path | None = None) -> bool:
    """Make a version again and tell of each stage whether it came out the same; stop at the first that did not.

    The clone is of the repository that this process is in, at the version's commit, with its params.yaml. The corpus is
    pulled from the DVC remote, or made again where that has not got it; every other stage is run. What the stages log
    goes into a store of the clone's own.

    Args:
        kept: the folder with the version's record.
        into: where the clone is to be, and to stay; None is a temporary folder.

    Raises:
        InputError: there is no way to make it again: no commit, or files of it that no commit has; or nothing was recorded
            of a stage.
    """
    record = read_json(kept / RECORD)
    _check(record, kept)
    _tell_libraries(record["libraries"])
    with clean_clone(record["commit"], into) as clone:
        for name in (PARAMS_FILE.name, LOCK_FILE.name):
            shutil.copyfile(kept / name, clone / name)
        copy_local_files(clone)
        for stage in _stages_to_compare(clone, record["stages"]):
            how = "pulled" if stage == INGEST and _pull(clone, list(record["stages"][stage])) else "made again"
            if how == "made again":
                run_dvc(clone, "repro", "--single-item", "--force", "--no-run-cache", stage)
            if how == "pulled":  # DVC wrote nothing: the lock is still the version's own
                made = {path: hash_out(clone / path)["md5"] for path in record["stages"][stage]}
            else:
                made = read_lock(clone / LOCK_FILE).get(stage, {})
            difference = _compare(record["stages"][stage], made, clone)
            print(f"{stage:<10} {how}, {difference or 'identical'}", flush=True)
            if difference:
                return False
    print(f"identical: {len(record['stages'])} stages")
    return True


def _check(record: Mapping[str, Any], kept: Path) -> None:
    lacking = sorted(set(record["changed"] or ()) - {PARAMS_FILE.name})  # that file is kept with the version
    if record["changed"] is None:
        raise InputError("the version was not made in a git repository: there is no commit to clone")
    if lacking:
        raise InputError(f"the version was made with changes that no commit holds: {', '.join(lacking[:SHOWN])}")
    if not (kept / LOCK_FILE.name).is_file():
        raise InputError("the version was not made by DVC: no hash of a stage was recorded")


def _tell_libraries(recorded: Mapping[str, str]) -> None:
    here = libraries()
    others = [f"{name} {version} (here {here.get(name)})" for name, version in recorded.items() if here.get(name) != version]
    if others:
        print(f"other libraries than the version's, so a difference may be theirs: {', '.join(others)}", file=sys.stderr)


def _in_order(clone: Path) -> list[str]:
    """Return the stages of dvc.yaml, each after all whose outs it needs."""
    stages = read_stages(clone)
    made = {Path(out): name for name, stage in stages.items() for out in outs_of(stage)}
    needs = {
        name: [made[path] for dep in stage.get("deps", []) for path in (Path(dep), *Path(dep).parents) if path in made]
        for name, stage in stages.items()
    }
    return list(TopologicalSorter(needs).static_order())


def _stages_to_compare(clone: Path, recorded: Mapping[str, Outs]) -> list[str]:
    """Return the stages of the clone in their order.

    Raises:
        InputError: they are not those that were recorded.
    """
    order = _in_order(clone)
    differing = sorted(set(order).symmetric_difference(recorded))
    if differing:
        place = "dvc.yaml" if differing[0] in recorded else "what was recorded of the version"
        raise InputError(f"stage {differing[0]}: is not in {place}, so there is nothing to compare it with")
    return order


def _pull(clone: Path, outs: list[str]) -> bool:
    """Tell whether the remote had the outs; they are there afterwards."""
    try:
        run_dvc(clone, "pull", *outs)
    except InputError as error:
        print(f"the DVC remote does not give {', '.join(outs)}: {error}", file=sys.stderr)
        return False
    return True


def _compare(recorded: Outs, made: Mapping[str, str], clone: Path) -> str:
    """Return what differs between recorded outs and those in the clone, or nothing."""
    differing = []
    for path, out in recorded.items():
        if made.get(path) == out["md5"]:
            continue
        before = out.get("files")
        now = hash_out(clone / path).get("files") if (clone / path).exists() else None
        if before is None or now is None:
            differing.append(path)
            continue
        names = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        differing.append(f"{path} ({len(names)} of {len(before)} files: {', '.join(names[:SHOWN])}{more})")
    return f"differs: {'; '.join(differing)}" if differing else ""
