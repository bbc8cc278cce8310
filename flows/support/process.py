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

PROGRESS_SECONDS = 15  # a progress bar is redrawn many times a second; one of its lines in this time is passed on
KEPT_LINES = 20  # shown when the command fails
GRACE_SECONDS = 20  # from an interrupt to a kill; Prefect kills a cancelled flow after 30


class CommandError(RuntimeError):
    """A command failed; the message has its exit code and its last lines."""


def run_command(
    command: Sequence[str],
    on_line: Callable[[str], object],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    held: Sequence[int] = (),
) -> None:
    """Run a command and call ``on_line`` with each line of its output; redrawn progress bars are thinned out.

    When this process is interrupted, so is the command with all the processes that it started.

    Args:
        command: the command with its arguments.
        on_line: called with each line.
        folder: where to run it; None: in the current folder.
        environment: variables to add to those of this process.
        held: file descriptors of locks for the command to hold too.

    Raises:
        CommandError: the command failed.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # so that "python" is this interpreter
    variables = {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", **(environment or {})}
    last: deque[str] = deque(maxlen=KEPT_LINES)
    with subprocess.Popen(
        command,
        cwd=folder,
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
                on_line(line)
            process.wait()
        finally:
            if process.poll() is None:
                _interrupt(process)
    if process.returncode:
        lines = "\n".join(last)
        raise CommandError(f"{' '.join(command[-3:])}: exit code {process.returncode}; its last lines:\n{lines}")


def calm_lines(stream: IO[bytes], clock: Callable[[], float] = time.monotonic) -> Iterator[str]:
    r"""Yield the lines of a stream, without empty ones.

    A line that ends in \r is overwritten on a terminal: of these, one in PROGRESS_SECONDS is yielded.
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
