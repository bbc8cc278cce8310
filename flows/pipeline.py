"""The pipeline as a Prefect flow: ``python -m flows.pipeline [--force] [STAGE …]``.

Each stage of dvc.yaml is a task that runs ``dvc repro --single-item``: DVC decides whether there is anything to do.
"""

import argparse
import logging
import signal
import sys
from concurrent.futures import Future
from contextvars import copy_context
from threading import Thread
from types import FrameType
from typing import NoReturn

from prefect import flow
from prefect.client.orchestration import get_client

from flows.dag import PipelineError, stages_in_order
from flows.process import CommandError
from flows.tasks import publish_results, run_stages
from stages.errors import InputError
from stages.interrupt import EXIT_CODE, MESSAGE, exit_at_once, on_interrupt, raise_once

LIMIT_SECONDS = 7 * 24 * 3600


@flow(timeout_seconds=LIMIT_SECONDS)
def pipeline(force: bool = False, targets: list[str] | None = None) -> list[str]:
    """Bring every stage up to date.

    Args:
        force: run stages even where nothing changed.
        targets: only these stages and what they need.

    Returns:
        The names of the stages, in their order.
    """
    names = stages_in_order(targets or ())
    run_stages(names, forced=names if force else ())
    publish_results()
    return names


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
