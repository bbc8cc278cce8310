"""Run a flow from the command line, with a temporary server if Prefect has no address of one."""

import logging
import signal
import sys
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from threading import Thread
from types import FrameType
from typing import NoReturn

from prefect.client.orchestration import get_client

from flows.support.dag import PipelineError
from flows.support.process import CommandError
from stages.core.errors import InputError
from stages.core.files import NoRoomError
from stages.core.interrupt import EXIT_CODE, MESSAGE, exit_at_once, on_interrupt, raise_once
from stages.core.params_file import ParameterError


def run(main: Callable[[], int]) -> NoReturn:
    """Exit with the exit code that ``main`` returns."""
    on_interrupt(_interrupt)
    code = main()
    on_interrupt(exit_at_once)  # while the interpreter shuts down
    sys.exit(code)


def exit_code_of(flow: Callable[[], object], check: Callable[[], object] = lambda: None) -> int:
    """Run a flow, print an error as one line, and return the exit code.

    Exit codes: 0 done; 1 one of its commands failed; 2 bad input, or nothing to run; 130 interrupted.

    Args:
        flow: the flow with its parameters.
        check: called before a server is started, which takes long.
    """
    try:
        check()
        _start_server()
        flow()
    except (PipelineError, InputError, ParameterError, NoRoomError) as error:
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
    """Start Prefect's temporary server, unless Prefect has the address of a server.

    A terminal sends Ctrl-C to the server too. It must ignore it, because Prefect waits a minute for a server that is gone.
    So a thread that blocks SIGINT starts it, and the server inherits that; the main thread waits and handles Ctrl-C.
    """
    started: Future[None] = Future()

    def start() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            get_client(sync_client=True)
            started.set_result(None)
        except Exception as error:  # noqa: BLE001 - raised in the main thread
            started.set_exception(error)

    Thread(target=copy_context().run, args=[start], daemon=True).start()  # Prefect's settings belong to a context
    started.result()


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    logging.disable()  # Prefect logs at length that the flow was interrupted
    raise_once(signum, frame)
