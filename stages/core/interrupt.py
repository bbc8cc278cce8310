"""Ctrl-C at any moment: one line, exit code 130, no traceback.

An interrupt is an error like others only while a stage is at work, which then closes what it has open. Before that, in
the many seconds of imports, and after it, there is nothing to close, and an exception could surface anywhere: in code
that swallows it, or turns it into another.
"""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

EXIT_CODE = 130
MESSAGE = "error: interrupted; what is whole is kept, the next run goes on from there"


def on_interrupt(handler: Callable[[int, FrameType | None], object]) -> None:
    """Set what Ctrl-C does, unless it is ignored, as shells arrange it for what they start in the background."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, handler)


def exit_at_once(signum: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - a signal handler's signature
    """End the process. A kill at any moment does no harm, so this does none."""
    print(MESSAGE, file=sys.stderr, flush=True)
    os._exit(EXIT_CODE)


def raise_once(signum: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - a signal handler's signature
    """Raise KeyboardInterrupt; whoever cannot wait for the stage to close what it has open interrupts again."""
    on_interrupt(exit_at_once)
    raise KeyboardInterrupt
