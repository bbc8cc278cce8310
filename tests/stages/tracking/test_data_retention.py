"""What is removed from DVC's cache and remote is what nothing names."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from stages.core.errors import InputError
from stages.core.paths import SNAPSHOT
from stages.tracking.data_retention import find_unneeded
from stages.tracking.record import hash_out
from tests.support.harness import wait_for
from tests.support.recorded_project import commit, git

OBJECTS = Path(".dvc/cache/files/md5")
STAGES = {"stages": {"make": {"cmd": "sh make.sh", "deps": ["make.sh"], "outs": ["data", "note.txt"]}}}


def dvc(*words: str) -> None:
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    subprocess.run([sys.executable, "-m", "dvc", *words], env=environment, check=True, capture_output=True)


def objects(folder: Path = OBJECTS) -> set[str]:
    return {path.parent.name + path.name for path in folder.rglob("*") if path.is_file()}


def make(text: str) -> set[str]:
    """Run the stage on another input and return the objects that it added."""
    before = objects()
    Path("make.sh").write_text(f"mkdir -p data; echo {text} 1 > data/a; echo {text} 2 > data/b; echo {text} > note.txt\n")
    dvc("repro")
    return objects() - before


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A repository with a remote of its own, whose first commit has made its outs."""
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet")
    for name, value in (("user.name", "t"), ("user.email", "t@localhost")):  # for the commits of experiments
        git("config", name, value)
    dvc("init", "--quiet")
    dvc("remote", "add", "--default", "own", str(tmp_path / "remote"))
    Path("dvc.yaml").write_text(yaml.safe_dump(STAGES))
    return tmp_path


def test_what_nothing_names_is_removed(project):
    of_a_branch = make("committed")
    commit("first")
    git("branch", "kept")
    of_a_version = make("registered")
    record = {"stages": {"make": {path: hash_out(Path(path)) for path in ("data", "note.txt")}}}
    of_nothing = make("forgotten")
    of_the_workspace = make("current")
    dvc("push", "--quiet", "--all-commits")
    dvc("push", "--quiet")
    everything = of_a_branch | of_a_version | of_nothing | of_the_workspace
    assert [len(each) for each in (of_a_branch, of_a_version, of_nothing, of_the_workspace)] == [4] * 4

    (found,) = find_unneeded([record], None, remove=False)
    assert (found.place, found.objects) == ("cache", 4)
    assert found.bytes == sum((OBJECTS / each[:2] / each[2:]).stat().st_size for each in of_nothing)
    assert objects() == everything

    remote = project / "remote/files/md5"
    assert objects(remote) == of_a_branch | of_the_workspace
    find_unneeded([record], None, remove=True)
    assert objects() == everything - of_nothing
    make("later")
    commit("second")
    places = find_unneeded([], "own", remove=True)
    assert [(place.place, place.objects) for place in places] == [("cache", 8), ("own", 4)]
    assert objects(remote) == of_a_branch
    dvc("checkout")
    assert Path("note.txt").read_text() == "later\n"


def test_a_commit_without_dvc_lock_needs_nothing(project, caplog, monkeypatch):
    """Most projects have no other: DVC would warn about each of its outs."""
    monkeypatch.setattr(logging.getLogger("dvc"), "propagate", True)
    commit("first")
    made = make("current")
    find_unneeded([], None, remove=True)
    assert objects() == made
    assert caplog.text == ""


def test_what_a_sandbox_names_is_kept(project):
    """The weekly run makes its tables there from older data, while a nightly run prunes."""
    commit("first")
    of_the_sandbox = make("snapshot")
    git("clone", "--quiet", ".", str(SNAPSHOT))
    shutil.copy("dvc.lock", SNAPSHOT)
    dvc("--cd", str(SNAPSHOT), "cache", "dir", "--local", str(Path(".dvc/cache").absolute()))
    of_nothing, of_the_workspace = make("forgotten"), make("current")
    assert of_nothing
    find_unneeded([], None, remove=True)
    assert objects() == of_the_sandbox | of_the_workspace
    with Repo(str(SNAPSHOT)) as sandbox, sandbox.lock, pytest.raises(InputError, match="Unable to acquire lock"):
        find_unneeded([], None, remove=True)
    shutil.rmtree(SNAPSHOT)
    find_unneeded([], None, remove=True)
    assert objects() == of_the_workspace


def test_what_a_queued_experiment_starts_from_is_kept(project):
    commit("first")
    queued = make("queued")
    commit("second")
    dvc("exp", "run", "--queue")
    git("reset", "--quiet", "--hard", "HEAD~1")
    of_the_workspace = make("current")
    find_unneeded([], None, remove=True)
    assert objects() == queued | of_the_workspace
    dvc("queue", "remove", "--all")
    find_unneeded([], None, remove=True)
    assert objects() == of_the_workspace


def test_what_an_experiment_at_work_has_made_is_kept(project, tmp_path_factory):
    """DVC runs it in a copy of the project, which has no name in git yet."""
    signals = tmp_path_factory.mktemp("signals")
    wait = f"touch {signals}/ready; while [ ! -e {signals}/go ]; do sleep 0.1; done; cp first.txt second.txt"
    first = {"cmd": "echo made > first.txt", "outs": ["first.txt"]}
    second = {"cmd": wait, "deps": ["first.txt"], "outs": ["second.txt"]}
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"first": first, "second": second}}))
    commit("first")
    command = [sys.executable, "-m", "dvc", "exp", "run", "--temp"]
    with subprocess.Popen(command, env=os.environ | {"DVC_NO_ANALYTICS": "1"}) as experiment:
        try:
            wait_for((signals / "ready").exists)
            made = objects()
            find_unneeded([], None, remove=True)
            left = objects()
        finally:
            (signals / "go").touch()
    assert experiment.returncode == 0
    assert len(made) == 1
    assert left == made == objects()


def test_a_list_of_files_that_is_lost_stops_it(project):
    made = make("committed")
    commit("first")
    make("current")
    (folder,) = [each for each in made if each.endswith(".dir")]
    (OBJECTS / folder[:2] / folder[2:]).unlink()
    left = objects()
    with pytest.raises(InputError, match=r"^DVC cannot determine what is needed: "):
        find_unneeded([], None, remove=True)
    assert objects() == left


def test_an_unknown_remote_removes_nothing(project):
    make("forgotten")
    make("current")
    left = objects()
    with pytest.raises(InputError, match=r"^typo: no remote of DVC; there are own$"):
        find_unneeded([], "typo", remove=True)
    assert objects() == left
