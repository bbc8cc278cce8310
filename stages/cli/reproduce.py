"""``iedit reproduce``: rebuild a version in a clean clone, and compare every stage with its record."""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from stages.cli.agreement import are_comparable, compare_scores, read_metrics
from stages.cli.clone import clean_clone, run_dvc
from stages.core.errors import InputError
from stages.core.files import read_json
from stages.core.local_files import copy_local_files
from stages.core.params_file import read_params
from stages.core.paths import LOCK_FILE, METRICS_FILE, PARAMS_FILE
from stages.tracking.errors import store_errors_in_one_line
from stages.tracking.lineage import libraries, outs_of, read_stages
from stages.tracking.record import RECORD, fetch_record, hash_out, read_lock
from stages.tracking.registry import find_version
from stages.tracking.start import put_recorded_start
from stages.tracking.store import connect

PULLED = ("source", "ingest")  # the only stages whose outs are pulled if possible: the source may be gone
SHOWN = 5  # differing files that a line names

Outs = Mapping[str, Mapping[str, Any]]


def reproduce(options: argparse.Namespace) -> int:
    """Rebuild a version in a clean clone.

    Returns:
        0 if every stage is identical, or the scores are equal within the tolerance; otherwise 1.
    """
    with store_errors_in_one_line(), tempfile.TemporaryDirectory() as folder:
        version = find_version(options.version)
        kept = fetch_record(connect(create=False), version, Path(folder))
        return 0 if compare_in_clone(kept, options.into) else 1


def compare_in_clone(kept: Path, into: Path | None = None) -> bool:
    """Rebuild a version, print how each stage compares with its record, and return whether the version is reproduced.

    The clone is one of the repository that this process is in, at the version's commit, with the version's params.yaml.
    The corpus is pulled from the DVC remote or, if the remote does not have it, rebuilt. Every other stage is run,
    even after one that differs. The stages log to the clone's own tracking store.

    Args:
        kept: the folder of the version's record.
        into: the folder of the clone, which stays; None is a temporary folder.

    Raises:
        InputError: the version cannot be rebuilt, because its commit or changes to it are missing, because a stage was
            not recorded, or because a stage fails.
    """
    record = read_json(kept / RECORD)
    check_reproducible(record, kept)
    warn_of_other_libraries(record["libraries"])
    with clean_clone(record["commit"], into) as clone:
        for name in (PARAMS_FILE.name, LOCK_FILE.name):
            shutil.copyfile(kept / name, clone / name)
        choose_engine(clone / PARAMS_FILE)
        copy_local_files(clone)
        if start := record.get("start"):  # versions before it have none
            put_recorded_start(connect(create=False), start, clone)
        stages = stages_to_compare(clone, record["stages"])
        differing = [stage for stage in stages if not _is_identical(stage, record["stages"][stage], clone)]
        is_reproduced, verdict = _judge(stages, differing, kept / METRICS_FILE.name, clone / METRICS_FILE)
    print(verdict)
    return is_reproduced


def choose_engine(params: Path) -> None:
    """Let the project here say who makes a clone's shards; the version may have been made on a cluster, with the same bytes."""
    from ruamel.yaml import YAML

    yaml = YAML()
    values = yaml.load(params)
    if "execution" in values:  # versions before it have no such section
        values["execution"] = read_params().execution.model_dump(mode="json")
        yaml.dump(values, params)


def check_reproducible(record: Mapping[str, Any], kept: Path) -> None:
    """Check that a version's record is enough to rebuild the version.

    Raises:
        InputError: the record is not enough; the message says why.
    """
    missing = sorted(set(record["changed"] or ()) - {PARAMS_FILE.name})  # params.yaml is kept with the version
    if record["changed"] is None:
        raise InputError("the version was not made in a git repository: there is no commit to clone")
    if missing:
        raise InputError(f"the version was made with changes that no commit holds: {', '.join(missing[:SHOWN])}")
    if not (kept / LOCK_FILE.name).is_file():
        raise InputError("the version was not made by DVC: no hash of a stage was recorded")


def warn_of_other_libraries(recorded: Mapping[str, str]) -> None:
    """Print which of the version's libraries have another version here."""
    here = libraries()
    others = [f"{name} {version} (here {here.get(name)})" for name, version in recorded.items() if here.get(name) != version]
    if others:
        print(f"other libraries than the version's may cause differences: {', '.join(others)}", file=sys.stderr)


def stages_to_compare(clone: Path, recorded: Mapping[str, Outs]) -> list[str]:
    """Return the stages of the clone, each after the stages that it needs.

    Raises:
        InputError: they are not the recorded stages.
    """
    stages = read_stages(clone)
    made = {Path(out): name for name, stage in stages.items() for out in outs_of(stage)}
    needs = {
        name: [made[path] for dep in stage.get("deps", []) for path in (Path(dep), *Path(dep).parents) if path in made]
        for name, stage in stages.items()
    }
    order = list(TopologicalSorter(needs).static_order())
    differing = sorted(set(order).symmetric_difference(recorded))
    if differing:
        place = "dvc.yaml" if differing[0] in recorded else "the record of the version"
        raise InputError(f"stage {differing[0]}: is not in {place}, so there is nothing to compare it with")
    return order


def _is_identical(stage: str, recorded: Outs, clone: Path) -> bool:
    """Pull or make the outs of a stage, print how they compare with the record, and return whether they are identical."""
    if stage in PULLED and _pull(clone, list(recorded)):
        how = "pulled"  # DVC writes no lock entry for it: the one there is the version's own
        made = {path: hash_out(clone / path)["md5"] for path in recorded}
    else:
        how = "rebuilt"
        run_dvc(clone, "repro", "--single-item", "--force", "--no-run-cache", stage)
        made = read_lock(clone / LOCK_FILE).get(stage, {})
    difference = name_differences(recorded, made, clone)
    print(f"{stage:<10} {how}, {f'other bytes: {difference}' if difference else 'identical'}", flush=True)
    return not difference


def _pull(clone: Path, outs: list[str]) -> bool:
    """Pull outs from the DVC remote; return whether the remote has them."""
    try:
        run_dvc(clone, "pull", *outs)
    except InputError as error:
        print(f"cannot pull {', '.join(outs)} from the DVC remote: {error}", file=sys.stderr)
        return False
    return True


def name_differences(recorded: Outs, made: Mapping[str, str], clone: Path) -> str:
    """Return which recorded outs and files in them differ from those in a clone; empty if none does.

    Args:
        recorded: out → its MD5 and, for a folder, those of its files.
        made: out → its MD5 in the clone.
        clone: the folder of the clone.
    """
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
    return "; ".join(differing)


def _judge(stages: list[str], differing: list[str], recorded: Path, found: Path) -> tuple[bool, str]:
    """Return whether a version is reproduced, and the verdict to print.

    Args:
        stages: all stages.
        differing: the stages with other bytes.
        recorded: the metrics.json of the version; missing for versions that were recorded without it.
        found: the metrics.json of the clone.
    """
    if not differing:
        return True, f"identical: {len(stages)} stages"
    bytes_differ = f"differs: {len(differing)} of {len(stages)} stages have other bytes"
    if not recorded.is_file():
        return False, f"{bytes_differ}; no scores were recorded that could be compared"
    before, now = read_metrics(recorded), read_metrics(found)
    if not are_comparable(before, now):
        return False, f"{bytes_differ}, as do the cases or the models that score them"
    agreement = compare_scores(before, now)
    return agreement.is_tolerable, f"{'equal within tolerance' if agreement.is_tolerable else 'differs'}: {agreement}"
