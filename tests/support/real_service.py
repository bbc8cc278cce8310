"""``iedit serve`` in a process of its own, on the small models."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from stages.studies.served import address_of
from tests.support import ROOT

MODEL = ROOT / "nano" / "models" / "diffusion"
PATIENCE = 300  # seconds; the machine may be slow and busy


@contextmanager
def real_service(model: Path = MODEL) -> Iterator[str]:
    """Yield the address of the service once the model is loaded."""
    with real_process(model) as (address, _):
        yield address


@contextmanager
def real_process(
    model: Path = MODEL, *options: str, temporary: str | None = None
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Yield the address and the process of the service once the model is loaded.

    Args:
        model: a model's folder.
        options: of ``iedit serve``.
        temporary: the folder for its temporary files; None: the system's.
    """
    command = [sys.executable, "-m", "stages.cli.main", "serve", "--model", str(model), "--port", "0", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | ({"TMPDIR": temporary} if temporary else {})
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        address = f"{address_of(process)}/"
        wait_until_ready(process, address)
        yield address, process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


def wait_until_ready(process: subprocess.Popen[str], address: str) -> None:
    """Wait until the service can edit; raise RuntimeError if it ends or takes too long."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(f"{address}ready").status_code == 200:
                return
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(0.2)
    raise RuntimeError(f"the service is not ready: exit code {process.poll()}")
