"""What this machine, or the container that this process runs in, has to offer to workers."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

CONTROL_GROUP = Path("/sys/fs/cgroup")
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Machine:
    """Processor cores, free memory in bytes, and GPUs by the names that CUDA_VISIBLE_DEVICES takes."""

    cores: int
    memory: int
    gpus: tuple[str, ...]


def this_machine() -> Machine:
    """Return what this process may use."""
    return Machine(cores=cores(), memory=_memory(), gpus=_gpus())


def cores() -> int:
    """Return how many processor cores this process may use."""
    visible = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _limit("cpu.max").partition(" ")
    return max(1, min(visible, int(quota) // int(period))) if quota.isdigit() else visible


def _memory() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").exists() else []
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 0)
    limit, used = _limit("memory.max"), _limit("memory.current")
    return min(free, int(limit) - int(used)) if limit.isdigit() and used.isdigit() else free


def _limit(name: str) -> str:
    """Return the text of a file of the container's control group, version 2; empty if there is none."""
    path = CONTROL_GROUP / name
    return path.read_text().strip() if path.is_file() else ""


def _gpus() -> tuple[str, ...]:
    """Return the GPUs without importing torch, which takes seconds."""
    visible = os.environ.get(VISIBLE)
    if visible is not None:
        return tuple(name for name in visible.split(",") if name not in ("", "-1"))
    try:
        command = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
        found = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(found.stdout.split()) if found.returncode == 0 else ()
