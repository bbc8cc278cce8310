"""A child process that lives no longer than the one that started it."""

import os
import sys
from threading import Thread


def end_with_standard_input() -> None:
    """Watch standard input, and end this process at once when it ends; returns meanwhile.

    Whoever starts the process gives it a pipe and writes nothing: its other end is gone with them, however they died.
    """
    Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(1)
