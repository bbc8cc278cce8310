"""A command whose output is passed on line by line while it runs."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

PROGRESS_SECONDS = 15  # a progress bar is redrawn many times a second; one line of it in this time is passed on
KEPT_LINES = 20  # told when the command fails
GRACE_SECONDS = 20  # to end well after an interrupt; Prefect kills a cancelled flow after 30


class CommandError(RuntimeError):
    """A command failed; the message has its exit code and its last lines."""


def run_command(
    command: Sequence[str],
    tell: Callable[[str], object],
    *,
    environment: Mapping[str, str] | None = None,
    held: Sequence[int] = (),
) -> None:
    """Run a command and pass each line of its output to ``tell``; of progress bars, a line now and then.

    When this process is interrupted, so is the command with all that it started.

    Args:
        command: with its arguments.
        tell: is given each line.
        environment: variables of the command besides those of this process.
        held: descriptors of locks that the command shall hold as well.

    Raises:
        CommandError: the command failed.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # "python" is the one that runs this
    variables = {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", **(environment or {})}
    last: deque[str] = deque(maxlen=KEPT_LINES)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=variables,
        start_new_session=True,
        pass_fds=held,
    ) as process:
        assert process.stdout is not None
        try:
            for line in calm_lines(process.stdout):
                last.append(line)
                tell(line)
            process.wait()
        finally:
            if process.poll() is None:
                _interrupt(process)
    if process.returncode:
        told = "\n".join(last)
        raise CommandError(f"{' '.join(command[-3:])}: exit code {process.returncode}; it said at last:\n{told}")


def calm_lines(stream: IO[bytes], clock: Callable[[], float] = time.monotonic) -> Iterator[str]:
    r"""Yield the lines of a stream without empty ones.

    What ends in \r is overwritten on a terminal: of these lines, one in PROGRESS_SECONDS is yielded.
    """
    rest, shown = b"", clock()
    while chunk := os.read(stream.fileno(), 65536):
        *pieces, rest = re.split(rb"(\r\n|\n|\r(?!\Z))", rest + chunk)  # a \r at the end may be half of a \r\n
        for text, end in zip(pieces[::2], pieces[1::2], strict=True):
            line = text.decode(errors="replace").rstrip()
            if not line or (end == b"\r" and clock() - shown < PROGRESS_SECONDS):
                continue
            if end == b"\r":
                shown = clock()
            yield line
    if line := rest.decode(errors="replace").strip():
        yield line


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
