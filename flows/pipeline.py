"""The pipeline as a Prefect flow: ``python -m flows.pipeline [--force] [STAGE …]``.

Each stage of dvc.yaml is a task that runs ``dvc repro --single-item``: DVC decides whether there is anything to do.
"""

import argparse
import logging
import signal
import sys
import time
from concurrent.futures import Future
from contextvars import copy_context
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any, NoReturn

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client

from flows.dag import PipelineError, stages_in_order
from flows.process import CommandError, run_command
from stages.errors import InputError
from stages.files import read_json
from stages.interrupt import EXIT_CODE, MESSAGE, exit_at_once, on_interrupt, raise_once
from stages.shards import LOGS

TABLE = Path("reports/table.md")


@flow(name="iedit", validate_parameters=True)
def pipeline(force: bool = False, targets: list[str] | None = None) -> list[str]:
    """Bring every stage up to date, in the order of dvc.yaml and one after another, as DVC locks its project.

    Args:
        force: run stages even where nothing changed.
        targets: only these stages and what they need.

    Returns:
        The names of the stages.
    """
    names = stages_in_order(targets or ())
    for name in names:
        reproduce.with_options(name=name)(name, force=force)
    if TABLE.is_file():
        create_markdown_artifact(key="results", markdown=TABLE.read_text(encoding="utf-8"), description="Results")
    return names


@task(cache_policy=NO_CACHE)
def reproduce(stage: str, *, force: bool) -> None:
    """Bring one stage up to date, pass on what it says, and publish its counts."""
    started = time.time()
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", stage, *(["--force"] if force else [])]
    run_command(command, get_run_logger().info)
    counts = LOGS / f"{stage}.json"
    if counts.is_file():
        ran = counts.stat().st_mtime >= started
        create_table_artifact(
            key=f"{stage.replace('_', '-').lower()}-counts",
            table=_rows(_read_counts(counts)),
            description=f"Samples of {stage}" + ("" if ran else "; nothing changed, so these are of an earlier run"),
        )


def _read_counts(path: Path) -> dict[str, Any]:
    try:
        counts = read_json(path)
    except ValueError:
        counts = None
    if not isinstance(counts, dict):
        raise InputError(f"{path}: damaged; remove it")
    return counts


def _rows(counts: dict[str, Any], prefix: str = "") -> list[dict[str, Any]]:
    """Return nested counts as rows of a table."""
    rows: list[dict[str, Any]] = []
    for name, value in counts.items():
        label = f"{prefix}{name}".replace("_", " ")
        rows += _rows(value, f"{label}: ") if isinstance(value, dict) else [{"what": label, "count": value}]
    return rows


def main() -> int:
    """Run the flow from the command line.

    Exit codes: 0 done; 1 a stage failed; 2 bad input, or nothing to run; 130 interrupted.
    """
    parser = argparse.ArgumentParser(prog="python -m flows.pipeline", description="Bring the pipeline up to date.")
    parser.add_argument("targets", nargs="*", metavar="STAGE", help="only these stages and what they need")
    parser.add_argument("--force", action="store_true", help="run stages even where nothing changed")
    options = parser.parse_args()
    try:
        stages_in_order(options.targets)  # before a server is started for it
        _start_server()
        pipeline(force=options.force, targets=options.targets or None)
    except (PipelineError, InputError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except CommandError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(MESSAGE, file=sys.stderr)
        return EXIT_CODE
    return 0


def _start_server() -> None:
    """Start the server that Prefect makes for a flow where it is told of none.

    A terminal sends Ctrl-C to it as well. It shall not heed it, for Prefect waits a minute for a server that is gone. So it
    is started by a thread with SIGINT blocked, which it inherits; this thread waits, and heeds Ctrl-C.
    """
    started: Future[None] = Future()

    def start() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            get_client(sync_client=True)
            started.set_result(None)
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            started.set_exception(error)

    Thread(target=copy_context().run, args=[start], daemon=True).start()  # Prefect's settings are of a context
    started.result()


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    logging.disable()  # Prefect tells at length that the flow was interrupted
    raise_once(signum, frame)


if __name__ == "__main__":
    on_interrupt(_interrupt)
    code = main()
    on_interrupt(exit_at_once)  # while the interpreter shuts down
    sys.exit(code)
