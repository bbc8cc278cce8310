"""What DVC takes to record, check, push and fetch a thousand shards, with each type of link."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.errors import InputError

SHARDS = 1000
SHARD_BYTES = 400_000
LINKS = ("reflink,copy", "hardlink", "symlink")  # DVC's default, and what spares the second copy


def measure_versioning(folder: Path) -> dict[str, Any]:
    """Add, check, push and check out a folder of shards, then one with a single shard more.

    Returns seconds of wall time; a bare command's start is `version`.

    Raises:
        InputError: DVC fails.
    """
    _dvc(folder, "init", "--no-scm", "--quiet")
    _dvc(folder, "remote", "add", "--default", "local", str((folder / "remote").absolute()))
    rng = np.random.default_rng(0)
    _write_shards(folder / "data", rng, 0, SHARDS)
    steps = {"version": _dvc(folder, "version")}
    steps["add"] = _dvc(folder, "add", "--quiet", "data")
    steps["status, nothing changed"] = _dvc(folder, "status")
    steps["push"] = _dvc(folder, "push", "--quiet")
    steps["push again"] = _dvc(folder, "push", "--quiet")
    _write_shards(folder / "data", rng, SHARDS, SHARDS + 1)
    steps["add one shard more"] = _dvc(folder, "add", "--quiet", "data")
    steps["push one shard more"] = _dvc(folder, "push", "--quiet")
    for link in LINKS:
        _dvc(folder, "config", "cache.type", link)
        steps[f"checkout by {link}"] = _dvc(folder, "checkout", "--relink")
    steps["copies instead of links, as before a run"] = _dvc(folder, "unprotect", "data")
    return {"shards": SHARDS, "shard_bytes": SHARD_BYTES, "seconds": {name: round(value, 1) for name, value in steps.items()}}


def _write_shards(folder: Path, rng: np.random.Generator, start: int, stop: int) -> None:
    folder.mkdir(exist_ok=True)
    for number in range(start, stop):
        (folder / f"{number:05d}.tar").write_bytes(rng.bytes(SHARD_BYTES))


def _dvc(folder: Path, *arguments: str) -> float:
    """Run DVC in a folder and return the seconds that it took."""
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    started = time.perf_counter()
    command = [sys.executable, "-m", "dvc", *arguments]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        last = (result.stderr or result.stdout).strip().splitlines()[-1:]
        raise InputError(f"dvc {arguments[0]}: exit code {result.returncode} {''.join(last)}")
    return time.perf_counter() - started
