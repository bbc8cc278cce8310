"""The tasks of the flows: bring a stage up to date, publish the results, push the data."""

import errno
import os
import re
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import PrefectHTTPStatusError
from prefect.tasks import Task

from flows.support import artifacts
from flows.support.dag import has_remote
from flows.support.process import CommandError, run_command
from flows.support.server import why_failed
from flows.support.stale_locks import release_stale_locks
from flows.support.upkeep import warn
from stages.core.errors import InputError
from stages.core.files import lack_of_room
from stages.core.params_file import read_params

TRAIN = "train"  # the stage that may continue from the champion
# A lock may be held for a whole run, a server may be away for hours, and somebody has to read the alert of a full disk.
RETRY_SECONDS = (30, 120, 600, 1800, 3600)
# Messages of failures that may pass; DVC has one exit code for all.
TRANSIENT = re.compile(
    r"Unable to acquire lock"  # DVC: another of its commands is at work in this project
    r"|is being blocked by"  # DVC: another of its commands reads or writes the same files
    r"|is at work in this folder"  # `iedit prune`: somebody runs a stage or promotes a version by hand
    r"|tracking (server was not back|(server http\S+|store): )"  # MLflow cannot be reached
    r"|exit(ed with| code) (-9|137)\b"  # the stage, its shell or DVC was killed, as where memory is short; it resumes
)
ERROR = re.compile(r"\Aerror: ", re.IGNORECASE)  # begins a line of a stage, and in capitals one of DVC
# By `iedit prune`, which has removed nothing then.
UNDETERMINED = re.compile(
    r"(?:error: )?(.*(?:DVC cannot determine what is needed: |so the data that it|: no remote of DVC; there are ).*)"
)

# By `iedit prune`, of what it has left: more than the project should take, or a remote that it was to prune.
LEFT = re.compile(r".* should take \S+ at most: .*|data +the remote \S+ is left: .*")

POOR_LISTS = re.compile(r"(?:error: )?(download\.min_success = .*)")  # by `iedit download`, which has fetched the others


TOO_LARGE = os.strerror(errno.EFBIG)  # a file or, by a server, an upload: more room is no help
_warned: set[UUID] = set()  # runs of tasks whose full disk was an alert


def is_transient(_: Task[..., object], run: TaskRun, state: State[object]) -> bool:
    """Return whether a task failed for a reason that may pass, rather than for its input or a defect.

    A full disk may: somebody makes room. So it is an alert when the task meets it first.
    """
    error = state.data
    if isinstance(error, CommandError | OSError) and lack_of_room(error) not in (None, TOO_LARGE):
        if run.id not in _warned:
            _warned.add(run.id)
            line = next(line for line in str(error).splitlines() if lack_of_room(line))
            hours = sum(RETRY_SECONDS) / 3600
            warn(f"{ERROR.sub('', line)}: make room; the run tries again for {hours:.1f} hours")
        return True
    if isinstance(error, PrefectHTTPStatusError) and error.response.is_server_error:
        get_run_logger().warning("Prefect's server: %s", why_failed(error))
        return True
    return isinstance(error, CommandError | InputError) and TRANSIENT.search(str(error)) is not None


def is_any(task: Task[..., object], run: TaskRun, state: State[object]) -> bool:
    """Return True, because the failure may pass whatever it was; a full disk is an alert here too."""
    is_transient(task, run, state)
    return True


RETRIED: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "retries": len(RETRY_SECONDS),
    "retry_delay_seconds": list(RETRY_SECONDS),
}


def run_stages(names: Sequence[str], forced: Collection[str] = ()) -> None:
    """Bring stages up to date one after another, because DVC locks its project.

    Args:
        names: the stages, in their order.
        forced: those to run even if nothing changed.
    """
    for name in names:
        if name == TRAIN and read_params().train.continue_from == "champion":
            choose_start()
        update_stage.with_options(name=name)(name, force=name in forced)


@task(retry_condition_fn=is_transient, **RETRIED)
def download_pictures() -> None:
    """Fetch the pictures of new lists of URLs into tars, if params.yaml names lists; publish what came and what did not.

    Where too few URLs of a list gave a picture, an alert is sent, and the night goes on with what there is.
    """
    if read_params().download.metadata is not None:
        started = time.time()
        try:
            run_logged([sys.executable, "-m", "stages.cli.main", "download"])
        except CommandError as error:
            poor = POOR_LISTS.search(str(error))
            if poor is None:
                raise
            warn(poor[1])
        artifacts.publish_counts("download", started)


@task(retry_condition_fn=is_transient, **RETRIED)
def choose_start() -> None:
    """Choose where the training starts: from the champion, where the data changed little, or from the base."""
    run_logged([sys.executable, "-m", "stages.training.start"])


@task(retry_condition_fn=is_transient, **RETRIED)
def update_stage(stage: str, *, force: bool) -> None:
    """Bring one stage up to date, log its output, and publish its progress and its counts."""
    started = time.time()
    run_dvc("repro", "--single-item", stage, *(["--force"] if force else []), on_line=artifacts.Progress(stage).follow)
    artifacts.publish_counts(stage, started)


@task(retry_condition_fn=is_transient, **RETRIED)
def publish_results() -> None:
    """Publish the table of results, edits, and a link to MLflow."""
    artifacts.publish_evaluation()


@task(retry_condition_fn=is_any, **RETRIED)  # anything that keeps DVC from its remote may pass
def push_data() -> None:
    """Push the data that the project's remote lacks."""
    if has_remote():
        run_dvc("push")
    else:
        get_run_logger().info("no remote is configured, so nothing is pushed; dvc remote add --default NAME URL adds one")


@task(retry_condition_fn=is_transient, **RETRIED)
def prune() -> None:
    """Remove what no version, branch or experiment needs any more, as params.yaml says.

    An alert is sent where the project takes more of the disk than it should even then, or the remote was left that
    params.yaml names. So it is where what is needed cannot be determined, for example because a branch names data that are in
    no cache. Nothing is removed then: the night's work is done, but until somebody mends this, nothing goes any more.
    """
    printed: list[str] = []
    try:
        run_logged([sys.executable, "-m", "stages.cli.main", "prune"], printed.append)
    except CommandError as error:
        reason = UNDETERMINED.search(str(error))
        if reason is None or TRANSIENT.search(str(error)):
            raise
        warn(f"nothing was pruned: {reason[1]}")
    for line in filter(LEFT.fullmatch, printed):
        warn(line)


def run_dvc(*arguments: str, on_line: Callable[[str], object] = lambda _: None) -> None:
    """Run a DVC command as :func:`run_logged` does, after releasing locks whose holders have ended."""
    for holder in release_stale_locks():
        get_run_logger().warning("released the lock of a DVC command that has ended: %s", holder)
    run_logged([sys.executable, "-m", "dvc", *arguments], on_line)


def run_logged(
    command: Sequence[str],
    on_line: Callable[[str], object] = lambda _: None,
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    held: Sequence[int] = (),
) -> None:
    """Run a command as :func:`run_command` does; its output goes to the log of the run, and to ``on_line``.

    Raises:
        CommandError: the command failed.
    """
    log = get_run_logger().info

    def pass_on(line: str) -> None:
        log(line)
        on_line(line)

    run_command(command, pass_on, folder=folder, environment=environment, held=held)
