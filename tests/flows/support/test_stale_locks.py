"""Locks of DVC whose holders have ended are released, and no other."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from dvc.exceptions import DvcException
from dvc.fs import localfs
from dvc.lock import LockError
from dvc.rwlock import rwlock

from flows.support.stale_locks import release_stale_locks

FILE = Path(".dvc/tmp/rwlock")
OURS = " ".join(psutil.Process().cmdline()[1:])
"""A command as DVC would note it for this process."""
HOLDER = """
import sys
from dvc.fs import localfs
from dvc.rwlock import rwlock

with rwlock(".dvc/tmp", localfs, " ".join(sys.argv), [], ["data"], hardlink=False):
    print("held", flush=True)
    input()
"""


def hold(pid: int, command: str) -> None:
    """Write locks as a DVC command leaves them that was killed."""
    holder = {"pid": pid, "cmd": command}
    FILE.write_text(json.dumps({"write": {"data": holder}, "read": {"models": [holder, {"pid": os.getpid(), "cmd": OURS}]}}))


def test_a_lock_is_released_whose_process_id_another_has(dvc_project):
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other:
        hold(other.pid, "/usr/bin/dvc repro train")
        with pytest.raises(LockError), rwlock(".dvc/tmp", localfs, "dvc repro", ["data"], [], hardlink=False):
            pass
        assert release_stale_locks() == [f"process {other.pid}, /usr/bin/dvc repro train"]
        with rwlock(".dvc/tmp", localfs, "dvc repro", ["data"], [], hardlink=False):
            pass
        other.communicate(b"\n")
    assert json.loads(FILE.read_text())["read"] == {"models": [{"pid": os.getpid(), "cmd": OURS}]}
    assert release_stale_locks() == []


def age(days: int) -> None:
    """Let the file of locks be written some days ago; the clock may have been put forward by as much since then."""
    then = time.time() - days * 86400
    os.utime(FILE, (then, then))


def test_a_lock_is_released_whose_nameless_holder_started_later(dvc_project):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        hold(child.pid, "/srv/tool.py --all")
        age(days=3650)
        assert release_stale_locks() == [f"process {child.pid}, /srv/tool.py --all"]
        child.communicate(b"\n")


def test_a_living_command_keeps_its_lock_when_clocks_step(dvc_project):
    hold(os.getpid(), OURS)
    age(days=1)
    assert release_stale_locks() == []


@pytest.mark.parametrize("words", [["-m", "holder"], ["-m", "held"], ["{}/holder.py"], ["-X", "utf8", "-m", "held.inner"]])
def test_a_lock_held_in_a_spaced_folder_stays(dvc_project, tmp_path, words):
    FILE.unlink(missing_ok=True)
    folder = tmp_path / "My Project"
    (folder / "held").mkdir(parents=True)
    for name in ("holder.py", "held/__main__.py", "held/inner.py"):
        (folder / name).write_text(HOLDER)
    command = [sys.executable, *(word.format(folder) for word in words), "repro", "a stage", "--force"]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        assert release_stale_locks() == []
        assert "data" in json.loads(FILE.read_text())["write"]
        other.kill()
    (holder,) = release_stale_locks()
    assert holder.startswith(f"process {other.pid}, {folder}/")


def test_a_lock_held_by_code_without_a_name_stays(dvc_project):
    FILE.unlink(missing_ok=True)
    command = [sys.executable, "-c", HOLDER, "repro", "train"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        assert json.loads(FILE.read_text())["write"]["data"]["cmd"] == "-c repro train"
        assert release_stale_locks() == []
        other.kill()
    assert release_stale_locks() == [f"process {other.pid}, -c repro train"]


def test_a_lock_of_a_child_of_multiprocessing_stays(dvc_project):
    """Its command is noted as that of its parent."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        hold(child.pid, "/srv/tool.py --all")
        assert release_stale_locks() == []
        child.communicate(b"\n")
    assert release_stale_locks() == [f"process {child.pid}, /srv/tool.py --all"]


def test_a_lock_of_a_living_command_stays(dvc_project):
    FILE.unlink(missing_ok=True)
    assert release_stale_locks() == []
    with rwlock(".dvc/tmp", localfs, OURS, [], ["data"], hardlink=False):
        assert release_stale_locks() == []
        assert "data" in json.loads(FILE.read_text())["write"]


@pytest.mark.parametrize("content", ["", '{"write": {"data": {"pid":', '{"write": []}'])
def test_a_file_of_locks_cut_short_is_removed(dvc_project, content):
    FILE.write_text(content)
    with pytest.raises(DvcException), rwlock(".dvc/tmp", localfs, "dvc repro", [], ["data"], hardlink=False):
        pass
    assert release_stale_locks() == [f"unknown, because {FILE.absolute()} was damaged"]
    with rwlock(".dvc/tmp", localfs, "dvc repro", [], ["data"], hardlink=False):
        pass
