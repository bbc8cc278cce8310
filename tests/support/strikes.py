"""Ways to disturb a running stage: a signal before a chosen change of files, a file cut off, a small disk."""

import ctypes
import os
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from stages.__main__ import stage_named
from stages.core import files
from stages.core.interrupt import exit_at_once
from stages.core.run import run

CHANGING = {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}  # Python's audit events
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True, kw_only=True)
class Strike:
    """One disturbance: a signal before a change of a file, a limit on the size of a file, or a small disk."""

    change: int = 0  # the first is 1
    by: signal.Signals = signal.SIGKILL
    file: str = ""  # a pattern
    limit: int = 0  # bytes
    kills: bool = True  # exceeding the limit kills the process; otherwise the write fails as on a full disk
    room: int | None = None  # bytes left on the disk


def strike(wanted: Strike) -> list[int]:
    """Arm this process, in which a stage is about to start; return the list whose item counts its changes of files."""
    counted = [0]
    here = Path.cwd()

    def count(event: str, arguments: tuple) -> None:
        if event not in CHANGING and not (event == "open" and arguments[2] & WRITING):
            return
        if isinstance(arguments[0], int) or not Path(os.fsdecode(arguments[0])).absolute().is_relative_to(here):
            return
        counted[0] += 1
        if counted[0] == wanted.change:
            os.kill(os.getpid(), wanted.by)

    def limited(original):
        @contextmanager
        def limited_writing(path: Path, attempt: int = 0):
            with original(path, attempt) as temporary:
                if fnmatch(path.as_posix(), wanted.file):
                    # The kernel enforces the limit, so it strikes in whatever library writes.
                    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                    signal.signal(signal.SIGXFSZ, signal.SIG_DFL if wanted.kills else signal.SIG_IGN)
                    resource.setrlimit(resource.RLIMIT_FSIZE, (wanted.limit, resource.RLIM_INFINITY))
                yield temporary

        return limited_writing

    sys.addaudithook(count)
    original = files.written_aside
    replacement = limited(original)
    for module in [module for key, module in sys.modules.items() if key.startswith("stages.")]:
        if getattr(module, "written_aside", None) is original:
            module.written_aside = replacement
    return counted


def work(stage: str, folder: Path, output, wanted: Strike, environment: dict[str, str]) -> None:
    """Run a stage; the target of a child process."""
    signal.signal(signal.SIGINT, exit_at_once)  # not ignored as when tests run in the background, nor a traceback of this file
    for descriptor in (1, 2):
        os.dup2(output.fileno(), descriptor)
    if wanted.room is not None:
        put_on_small_disk(folder, wanted.room)
    os.chdir(folder)
    os.environ.update(environment)
    counted = strike(wanted)
    try:
        run(stage_named(stage))
    finally:
        print(f"\nchanges: {counted[0]}", flush=True)
        if wanted.room is not None:
            shutil.copytree(folder, outcome(folder), symlinks=True)  # the disk vanishes with this process


def put_on_small_disk(folder: Path, room: int) -> None:
    """Mount a disk with ``room`` bytes left over the folder, for this process alone."""
    user, group, new_user, new_mounts = os.geteuid(), os.getegid(), 0x10000000, 0x00020000
    assert ctypes.CDLL(None).unshare(new_user | new_mounts) == 0
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        Path("/proc/self", name).write_text(text)
    disk = folder.with_name("disk")
    disk.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", disk], check=True)
    shutil.copytree(folder, disk / "project", symlinks=True)
    found = os.statvfs(disk)
    size = (found.f_blocks - found.f_bfree) * found.f_frsize + room
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)
    subprocess.run(["mount", "--bind", disk / "project", folder], check=True)


def outcome(folder: Path) -> Path:
    return folder.with_name("outcome")
