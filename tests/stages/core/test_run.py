"""How a stage ends, and where its temporary files are."""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from stages.core import run as process
from stages.core.executors import machine
from tests.support import ROOT


@pytest.fixture(autouse=True)
def small(workplace, monkeypatch) -> None:
    monkeypatch.setattr(process, "read_params", lambda: SimpleNamespace(threads=1))
    monkeypatch.setattr(process, "on_interrupt", lambda _: None)


def end(stage) -> int:
    with pytest.raises(SystemExit) as ended:
        process.run(stage)
    return ended.value.code


def test_only_a_full_disk_is_reported_in_one_line(capsys):
    def stage(_):
        raise OSError(error, os.strerror(error), "a/file")

    error = errno.ENOSPC
    assert end(stage) == 3
    line = "error: [Errno 28] No space left on device: 'a/file'; finished work is kept, make room and run again\n"
    assert capsys.readouterr().err == line
    error = errno.EACCES
    with pytest.raises(PermissionError):
        process.run(stage)


def test_interrupt_is_reported_in_one_line(capsys):
    def stage(_):
        raise KeyboardInterrupt

    assert end(stage) == 130
    assert capsys.readouterr().err == "error: interrupted; finished work is kept, the next run resumes from there\n"


def test_temporary_files_lie_in_the_project_and_are_removed():
    def stage(_):
        assert list(process.TEMPORARY.iterdir()) == []
        descriptor, name = tempfile.mkstemp()
        os.close(descriptor)
        assert Path(name).parent == process.TEMPORARY.absolute()

    (process.TEMPORARY / "left by a killed stage").mkdir(parents=True)
    outside = tempfile.gettempdir()
    assert end(stage) == 0
    assert not process.TEMPORARY.exists()
    assert tempfile.gettempdir() == outside


PARALLEL = """
import multiprocessing
from stages.core import run

def stage(_):
    process = multiprocessing.get_context("forkserver").Process(target=print, args=("made",))
    process.start()
    process.join()

if __name__ == "__main__":
    run.read_params = lambda: None
    run.run(stage)
"""


def test_processes_of_a_stage_leave_nothing_behind(tmp_path_factory, monkeypatch):
    """Also in a folder whose path is longer than the address of a socket may be."""
    deep = tmp_path_factory.mktemp("deep") / ("a" * 100)
    deep.mkdir()
    monkeypatch.chdir(deep)
    Path("parallel.py").write_text(PARALLEL)
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": short}
        ended = subprocess.run([sys.executable, "parallel.py"], capture_output=True, text=True, env=environment, check=False)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "made\n", "")
        assert not process.TEMPORARY.exists()
        assert list(Path(short).iterdir()) == []


@pytest.mark.parametrize("variable", [None, "/var/tmp"])
def test_temporary_files_of_child_processes_lie_there_too(monkeypatch, variable):
    def stage(_):
        code = "import tempfile; print(tempfile.gettempdir())"
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert found.strip() == str(process.TEMPORARY.absolute())

    monkeypatch.delenv("TMPDIR", raising=False)
    if variable is not None:
        monkeypatch.setenv("TMPDIR", variable)
    assert end(stage) == 0
    assert os.environ.get("TMPDIR") == variable


def test_temporary_files_of_the_second_process_are_its_own(monkeypatch):
    def stage(_):
        assert (process.TEMPORARY / "of the first process").exists()
        assert Path(tempfile.mkdtemp()).parent == own.absolute()

    own = process.TEMPORARY.with_name("tmp-1")
    (own / "left by a killed stage").mkdir(parents=True)
    (process.TEMPORARY / "of the first process").mkdir(parents=True)
    monkeypatch.setenv("RANK", "1")
    assert end(stage) == 0
    assert (process.TEMPORARY / "of the first process").exists()
    assert not own.exists()


@pytest.mark.parametrize(("threads", "processes", "wanted"), [(2, 2, 2), (None, 1, 3), (None, 2, 1), (None, 8, 1)])
def test_without_a_number_there_is_a_thread_a_core(monkeypatch, threads, processes, wanted):
    """Of a machine, whose processes share them."""
    monkeypatch.setattr(machine, "cores", lambda: 3)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # it is put back afterwards
    before = torch.get_num_threads()
    process.set_threads(threads)
    found = torch.get_num_threads()
    torch.set_num_threads(before)
    assert found == wanted
    assert os.environ["OMP_NUM_THREADS"] == str(wanted)
