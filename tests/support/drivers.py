"""A stage with workers in other processes that is ended in the middle of a shard."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT
from tests.support.harness import wait_for

SCRIPT = """from tests.support.workers import {engine}, upper_case
if __name__ == "__main__":
    upper_case(["a", "sleep"], {engine})
"""


def end_driver_by(by: signal.Signals, engine: str) -> None:
    """End a stage of two shards while it makes the second; check that no worker is left, and nothing half-written is read."""
    Path("driver.py").write_text(SCRIPT.format(engine=engine))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "driver.py"], env=environment, start_new_session=True) as driver:
        wait_for(lambda: Path("asleep").exists() and Path("out/0.done.json").exists())
        driver.send_signal(by)
    workers = [int(path.name.partition("-")[2]) for path in Path().glob("loaded-*")]
    assert workers  # one may have made both shards before the other was ready
    wait_for(lambda: not any(is_alive(pid) for pid in workers))
    assert {"0.out", "0.len", "0.done.json"} <= {path.name for path in Path("out").iterdir()}
    assert not Path("out/1.out").exists()
    if by == signal.SIGINT:
        assert not Path("out/1.out.partial").exists()


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    try:
        return "State:\tZ" not in status.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
