"""The commands of ``iedit`` that operate the registry: promote, rollback, history, lineage."""

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.errors import InputError
from stages.core.files import read_json
from stages.core.params import Params
from stages.core.params_file import read_params
from stages.core.paths import PARAMS_FILE
from stages.core.run import alone, set_threads
from stages.core.yaml_file import read_yaml
from stages.tracking import history as champions
from stages.tracking.errors import store_errors_in_one_line
from stages.tracking.promotion import consider
from stages.tracking.record import RECORD, fetch_record
from stages.tracking.registry import (
    CHALLENGER,
    CHAMPION,
    NAME,
    ForeignVersionError,
    Registered,
    UnknownVersionError,
    find_version,
    version_by_alias,
)
from stages.tracking.runs import flatten, read_run
from stages.tracking.store import connect

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

SHOWN_DIGITS = 8  # characters of the cases' digest: scores on different cases cannot be compared
SCORES = {"iedit_m/clip_score": "CLIPScore", "iedit_m/ssim_m_bar": "SSIM-M̄"}


def promote(options: argparse.Namespace) -> None:
    """Make a version champion if it passes the gate, or with ``--force`` in any case.

    Raises:
        InputError: there is no such version, it does not pass, or a stage is at work in this folder.
    """
    with store_errors_in_one_line():
        version = find_version(options.version)  # before anything that takes long
        if options.force:
            event = champions.promote(version.version, "by hand, whatever the gate says")
            champions.forget_grounds(connect(create=False), event.version)
            print(f"models:/{NAME}/{event.version} is champion, in place of {_version(event.former)}: {event.why}")
            return
        params = read_params()
        with alone("iedit promote", wait=False):  # it may have to evaluate
            from stages.comparison.standard import current_standard  # slow to import

            set_threads(params.threads)  # scores can depend on it, and the stage made its scores with as many
            decision = consider(version, current_standard(params), by_hand=True)
        challenger = version_by_alias(connect(create=False), CHALLENGER)
    if not decision.passes:
        refusal = "stays challenger" if challenger == version.version else "is not promoted"
        raise InputError(f"models:/{NAME}/{version.version} {refusal}: {decision.why}; --force promotes it anyway")
    print(f"models:/{NAME}/{version.version} is champion: {decision.why}")


def rollback(_: argparse.Namespace) -> None:
    """Make the previous champion the champion again."""
    with store_errors_in_one_line():
        event = champions.roll_back("by hand")
    print(f"models:/{NAME}/{event.version} is champion again, in place of {_version(event.former)}")


def history(_: argparse.Namespace) -> None:
    """Print every promotion and rollback, oldest first, and which versions are champion and challenger."""
    with store_errors_in_one_line():
        client = connect(create=False)
        for event in champions.read_events(client):
            scores = _scores(event.version)
            print(f"{event.when:%Y-%m-%d %H:%M:%S}  version {event.version}  {event.how}  {scores}\n    {event.why}")
        for alias in (CHAMPION, CHALLENGER):
            print(f"{alias:<10}  {_version(version_by_alias(client, alias))}")


def lineage(options: argparse.Namespace) -> None:
    """Print what a version was made from, as recorded in the registry."""
    with store_errors_in_one_line(), tempfile.TemporaryDirectory() as folder:
        client = connect(create=False)
        version = find_version(options.version)
        kept = fetch_record(client, version, Path(folder))
        record = read_json(kept / RECORD)
        params = read_yaml(kept / PARAMS_FILE.name)
        facts = (
            _describe_version(client, version),
            _describe_start(record),
            _describe_code(record),
            _describe_inputs(record, params),
        )
        for line in chain.from_iterable(facts):
            print(line)


def _describe_version(client: "MlflowClient", version: Registered) -> Iterator[str]:
    aliases = [alias for alias in (CHAMPION, CHALLENGER) if version_by_alias(client, alias) == version.version]
    yield f"version    models:/{NAME}/{version.version}{''.join(f', {alias}' for alias in aliases)}"
    decision = client.get_model_version(NAME, version.version).description
    if decision:
        yield f"decision   {decision}"
    if version.run_id is None:
        yield "training   its run is not in this store"
        return
    run = read_run(client, version.run_id)
    if run is None:
        yield f"training   run {version.run_id}, which was deleted since"
        return
    commit, dirty = run.data.tags.get("mlflow.source.git.commit"), run.data.tags.get("iedit.git_dirty") == "true"
    yield f"training   run {version.run_id} ({run.info.run_name}), commit {commit}{', with changes' if dirty else ''}"


def _describe_code(record: Mapping[str, Any]) -> Iterator[str]:
    changed = record["changed"]
    yield f"commit     {record['commit']}{', with changes in ' + ', '.join(changed) if changed else ''}"
    yield "stages"
    order = list(Params.model_fields)  # the order of the pipeline
    for stage, outs in sorted(record["stages"].items(), key=lambda each: order.index(each[0]) if each[0] in order else -1):
        for path, out in outs.items():
            files = f"  {len(out['files'])} files" if "files" in out else ""
            yield f"  {stage:<10} {path:<22} {out['md5']}{files}"


def _describe_start(record: Mapping[str, Any]) -> Iterator[str]:
    start: Mapping[str, str] = record.get("start", {})  # versions before it have none
    if start:
        place = f"models:/{NAME}/{start['version']}  {start['model']}" if "version" in start else "the base"
        yield f"start      {place}: {start['why']}"


def _describe_inputs(record: Mapping[str, Any], params: Mapping[str, Any]) -> Iterator[str]:
    yield f"corpus     {', '.join(f'{name} {value}' for name, value in record['source'].items())}"
    for shard in record["shards"]:
        yield f"  {shard['shard']}  {shard['sha256']}  {shard['samples']} samples, the first from {shard['first']}"
    yield "weights"
    for key, model in record["weights"].items():
        yield f"  {key:<20} {model['name']}  {model['identity']}"
    yield "parameters"
    yield from (f"  {name:<32} {value}" for name, value in flatten(params).items())
    yield "libraries"
    yield from (f"  {name:<24} {version}" for name, version in record["libraries"].items())


def _scores(number: str) -> str:
    try:
        version = find_version(number)
    except UnknownVersionError:  # its promotion stays in the history
        return "deleted since"
    except ForeignVersionError:
        return "registered by others, without scores"
    metrics = version.metrics
    scores = ", ".join(f"{label} {metrics[name]:.2f}" for name, label in SCORES.items() if name in metrics)
    return f"{scores} on cases {version.cases[:SHOWN_DIGITS]}" if version.cases else scores


def _version(number: str | None) -> str:
    return "none" if number is None else f"version {number}"
