"""Ctrl-C at any moment: one line, exit code 130, no traceback.

An interrupt becomes an exception only while a stage works and has things to close. During the imports before (many
seconds) and the shutdown after, there is nothing to close, and an exception could surface in code that swallows it or
turns it into another one; there the process ends at once.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

EXIT_CODE = 130
MESSAGE = "error: interrupted; finished work is kept, the next run resumes from there"


def on_interrupt(handler: Callable[[int, FrameType | None], object]) -> None:
    """Set the handler of Ctrl-C, unless it is ignored, as shells arrange for background jobs."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, handler)


def exit_at_once(signum: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - a signal handler's signature
    """End the process without cleaning up, which is safe because a kill at any moment is."""
    print(MESSAGE, file=sys.stderr, flush=True)
    os._exit(EXIT_CODE)


@contextmanager
def exiting_at_once() -> Iterator[None]:
    """End the process at an interrupt in the block: code that is being imported could swallow the exception, or change it."""
    before = signal.getsignal(signal.SIGINT)
    if before is not raise_once:  # no stage, or it is being interrupted already
        yield
        return
    on_interrupt(exit_at_once)
    try:
        yield
    finally:
        on_interrupt(raise_once)


def raise_once(signum: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - a signal handler's signature
    """Raise KeyboardInterrupt, so that the stage closes what it has open; a second interrupt ends the process at once."""
    on_interrupt(exit_at_once)
    raise KeyboardInterrupt
