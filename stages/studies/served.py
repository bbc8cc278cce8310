"""``iedit serve`` as a process of its own, for the studies that measure it, and the memory that it takes."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import httpx

from stages.core.errors import InputError

LOADING = 300  # seconds
ENDING = 90  # seconds
ADDRESS = re.compile(r"running on (http://[\d.:]+)")  # as uvicorn logs it


@dataclass(frozen=True)
class Served:
    """A running service."""

    address: str
    process: subprocess.Popen[str]

    def memory(self) -> float:
        """Return the resident memory of the service and the processes of its models, in megabytes."""
        return sum(map(_resident, _family(self.process.pid))) / 1000


@contextmanager
def served(model: str) -> Iterator[Served]:
    """Serve a model on this machine, without a bound for one client, while the block runs.

    Raises:
        InputError: the service ends before its model is loaded, or loads it for too long.
    """
    options = ["--model", model, "--port", "0", "--requests-per-minute", "0", "--deadline", "300"]
    command = [sys.executable, "-m", "stages.cli.main", "serve", *options]
    process = subprocess.Popen(command, env=os.environ, stderr=subprocess.PIPE, text=True)
    try:
        service = Served(address_of(process), process)
        _wait_until_ready(service)
        yield service
    finally:
        process.terminate()
        try:
            process.wait(ENDING)
        except subprocess.TimeoutExpired:
            process.kill()


def address_of(process: subprocess.Popen[str]) -> str:
    """Return the address at which a service listens, from its log, which is passed on for as long as it runs.

    Args:
        process: the running service; its standard error is a pipe.

    Raises:
        InputError: it ends before it listens.
    """
    assert process.stderr is not None
    for line in process.stderr:
        sys.stderr.write(line)
        if found := ADDRESS.search(line):
            Thread(target=sys.stderr.writelines, args=[process.stderr], daemon=True).start()
            return found[1]
    raise InputError("iedit serve: it ended before it listened")


def _wait_until_ready(service: Served) -> None:
    end = time.monotonic() + LOADING
    while time.monotonic() < end and service.process.poll() is None:
        try:
            if httpx.get(f"{service.address}/ready", timeout=5).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise InputError("iedit serve: its model was not loaded")


def _family(pid: int) -> Iterator[int]:
    """Yield a process and those that it has started."""
    yield pid
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in thread.joinpath("children").read_text().split():
            yield from _family(int(child))


def _resident(pid: int) -> int:
    """Return the resident memory of a process in kilobytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])
