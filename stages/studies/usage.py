"""Programs of the pipeline run as child processes, so that their time and memory can be read."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.core.errors import InputError

ROOT = Path(__file__).parents[2]
KIB = 1024
ELSEWHERE = ("MLFLOW_TRACKING_URI", "DVC_ROOT")  # would send what is measured to another project's store


@dataclass(frozen=True)
class Usage:
    """What a program took, all its processes together."""

    cpu: float  # seconds
    wall: float  # seconds
    peak: int  # bytes of memory of its largest process


def run_module(words: Sequence[str], folder: Path, threads: int) -> Usage:
    """Run a module of the project, with its arguments, in a folder; its output goes to a log file there.

    Args:
        words: the module's name, and its arguments.
        folder: where it runs.
        threads: of each numerical library, at most.

    Raises:
        InputError: it fails; the message holds its last line.
    """
    log = folder / f"{words[-1]}.log"
    inherited = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    environment = inherited | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads)}
    started = time.perf_counter()
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-m", *words], cwd=folder, env=environment, stdout=file, stderr=file)
        _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        raise InputError(f"{' '.join(words)}: exit code {process.returncode}: {''.join(last)}")
    return Usage(cpu=usage.ru_utime + usage.ru_stime, wall=wall, peak=usage.ru_maxrss * KIB)
