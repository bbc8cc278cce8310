"""What is removed from DVC's cache and remote is what nothing names."""

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

import pytest
import yaml
from dvc.cli import main as dvc_main
from dvc.repo import Repo

from stages.core.errors import InputError
from stages.core.paths import SNAPSHOT
from stages.tracking import data_retention
from stages.tracking.data_retention import Unneeded, search
from stages.tracking.record import Record, hash_out
from stages.tracking.workspaces import left_over
from tests.ops.storage import AWS, s3_server
from tests.support.harness import wait_for
from tests.support.recorded_project import commit, git

OBJECTS = Path(".dvc/cache/files/md5")
STAGES = {"stages": {"make": {"cmd": "sh make.sh", "deps": ["make.sh"], "outs": ["data", "note.txt"]}}}


def dvc(*words: str) -> None:
    with chdir("."):  # where its option --cd leads is left again
        assert dvc_main(list(words)) == 0, words


def objects(folder: Path = OBJECTS) -> set[str]:
    return {path.parent.name + path.name for path in folder.rglob("*") if path.is_file()}


def md5_of(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def remove_unneeded(*records: Record, remote: str | None = None, own_cache: bool = False) -> list[Unneeded]:
    found = search(remote, own_cache=own_cache)
    return found.remove(found.unneeded(records))


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
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
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
    of_nothing, of_the_workspace = make("forgotten"), make("current")
    dvc("push", "--quiet", "--all-commits")
    dvc("push", "--quiet")
    everything = of_a_branch | of_a_version | of_nothing | of_the_workspace
    assert [len(each) for each in (of_a_branch, of_a_version, of_nothing, of_the_workspace)] == [4] * 4

    (found,) = search().unneeded([record])
    assert (found.place, len(found.sizes)) == ("cache", 4)
    assert found.bytes == sum((OBJECTS / each[:2] / each[2:]).stat().st_size for each in of_nothing)
    assert objects() == everything

    remote = project / "remote/files/md5"
    assert objects(remote) == of_a_branch | of_the_workspace
    remove_unneeded(record)
    assert objects() == everything - of_nothing
    make("later")
    commit("second")
    assert [(place.place, len(place.sizes)) for place in remove_unneeded(remote="own")] == [("cache", 8), ("own", 4)]
    assert objects(remote) == of_a_branch
    dvc("checkout")
    assert Path("note.txt").read_text() == "later\n"


def test_a_commit_without_dvc_lock_needs_nothing(project, caplog, monkeypatch):
    """Most projects have no other: DVC would warn about each of its outs."""
    monkeypatch.setattr(logging.getLogger("dvc"), "propagate", True)
    commit("first")
    made = make("current")
    caplog.clear()
    remove_unneeded()
    assert objects() == made
    assert caplog.text == ""


def test_what_links_lead_to_is_kept_without_dvc_lock(project):
    """As where a damaged dvc.lock was put aside, or DVC was killed before it wrote one."""
    dvc("config", "cache.type", "symlink")
    forgotten, current = make("forgotten"), make("current")
    assert forgotten
    assert Path("note.txt").is_symlink()
    Path("dvc.lock").unlink()
    remove_unneeded()
    assert objects() == {each for each in current if not each.endswith(".dir")}
    assert [Path(name).read_text() for name in ("data/a", "data/b", "note.txt")] == ["current 1\n", "current 2\n", "current\n"]


def test_what_a_sandbox_names_is_kept(project):
    """The weekly run makes its tables there from older data, while a nightly run prunes."""
    commit("first")
    of_the_sandbox = make("snapshot")
    git("clone", "--quiet", ".", str(SNAPSHOT))
    shutil.copy("dvc.lock", SNAPSHOT)
    dvc("--cd", str(SNAPSHOT), "cache", "dir", "--local", str(Path(".dvc/cache").absolute()))
    of_nothing, of_the_workspace = make("forgotten"), make("current")
    assert of_nothing
    remove_unneeded()
    assert objects() == of_the_sandbox | of_the_workspace
    with Repo(str(SNAPSHOT)) as sandbox, sandbox.lock, pytest.raises(InputError, match="Unable to acquire lock"):
        remove_unneeded()
    shutil.rmtree(SNAPSHOT)
    remove_unneeded()
    assert objects() == of_the_workspace


def test_what_a_queued_experiment_starts_from_is_kept(project):
    commit("first")
    queued = make("queued")
    commit("second")
    dvc("exp", "run", "--queue")
    git("reset", "--quiet", "--hard", "HEAD~1")
    of_the_workspace = make("current")
    remove_unneeded()
    assert objects() == queued | of_the_workspace
    dvc("queue", "remove", "--all")
    remove_unneeded()
    assert objects() == of_the_workspace


@contextmanager
def experiment_at_work(signals: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run an experiment in a copy of the project, which has no name in git yet, until its second stage waits for signals/go."""
    wait = f"touch {signals}/ready; while [ ! -e {signals}/go ]; do sleep 0.1; done; echo forgotten > second.txt"
    first = {"cmd": "echo made > first.txt", "outs": ["first.txt"]}
    second = {"cmd": wait, "deps": ["first.txt"], "outs": ["second.txt"]}
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"first": first, "second": second}}))
    commit("first")
    with subprocess.Popen([sys.executable, "-m", "dvc", "exp", "run", "--temp"]) as experiment:
        try:
            wait_for((signals / "ready").exists)
            yield experiment
        finally:
            (signals / "go").touch()


def test_what_an_experiment_at_work_has_made_is_kept(project, tmp_path_factory):
    with experiment_at_work(tmp_path_factory.mktemp("signals")) as experiment:
        made = objects()
        remove_unneeded()
        left = objects()
    assert experiment.returncode == 0
    assert len(made) == 1
    assert left == made


def test_an_experiment_may_end_during_the_search(project, tmp_path_factory, monkeypatch):
    """It adds what it has made, or finds it in the cache, where the search has seen it while nothing needed it."""
    signals = tmp_path_factory.mktemp("signals")
    forgotten = make("forgotten")
    Path("dvc.lock").unlink()
    with experiment_at_work(signals) as experiment:

        def measure_long(*arguments: object) -> dict[str, int]:
            (signals / "go").touch()
            wait_for(lambda: experiment.poll() is not None)
            return measure(*arguments)

        measure = data_retention._measure
        monkeypatch.setattr(data_retention, "_measure", measure_long)
        remove_unneeded()
    assert experiment.returncode == 0
    assert objects() == {md5_of("made\n"), md5_of("forgotten\n")}
    assert len(forgotten) == 4


def leave_copy(name: str, content: str) -> None:
    """Leave a copy of the project, as a kill leaves that of an experiment, which a dvc.lock of this content made."""
    copy = Path(".dvc/tmp/exps", name)
    git("clone", "--quiet", ".", str(copy))
    (copy / "dvc.lock").write_text(content)
    dvc("--cd", str(copy), "cache", "dir", "--local", str(Path(".dvc/cache").absolute()))


def test_what_an_experiment_left_stays_a_week(project):
    """From then on it is surely dead; that a search has read it does not count."""
    commit("first")
    of_the_copy = make("killed")
    leave_copy("standalone/killed", Path("dvc.lock").read_text())
    leave_copy("torn", "{")
    of_the_workspace = make("current")
    with pytest.raises(InputError, match=r"^DVC cannot determine what is needed: .*\.dvc/tmp/exps/torn: "):
        remove_unneeded()
    shutil.rmtree(".dvc/tmp/exps/torn")
    remove_unneeded()
    assert objects() == of_the_copy | of_the_workspace
    week_ago = time.time() - 8 * 24 * 3600
    for path in Path(".dvc/tmp/exps").rglob("*"):
        if ".dvc" not in path.parts[3:]:  # where reading a copy leaves a lock
            os.utime(path, (week_ago, week_ago))
    assert left_over() == [Path(".dvc/tmp/exps/standalone/killed")]
    remove_unneeded()
    assert objects() == of_the_workspace


@pytest.fixture
def clone(project, tmp_path_factory) -> Path:
    """A clone that has fetched a branch of the project, whose data it has in its cache, and shares a remote with it."""
    Path(".dvc/config").rename(".dvc/config.local")
    Path(".dvc/config").touch()
    commit("first")
    git("checkout", "--quiet", "-b", "theirs")
    make("theirs")
    commit("theirs")
    dvc("push", "--quiet")
    git("checkout", "--quiet", "-")
    clone = tmp_path_factory.mktemp("clones") / "clone"
    git("clone", "--quiet", ".", str(clone))
    shutil.copy(".dvc/config.local", clone / ".dvc")
    shutil.copytree(".dvc/cache", clone / ".dvc/cache")
    os.chdir(clone)
    return clone


def test_a_remote_keeps_what_fetched_branches_name(project, clone):
    """A fresh clone has one branch of its own."""
    remote = project / "remote/files/md5"
    theirs = objects(remote)
    ours = make("ours")
    dvc("push", "--quiet")
    remove_unneeded(remote="own")
    assert objects(remote) == theirs | ours
    shutil.copytree(project / ".dvc/cache", ".dvc/cache", dirs_exist_ok=True)
    git("update-ref", "-d", "refs/remotes/origin/theirs")
    git("remote", "add", "unfetched", str(project))
    why = "no branch of git's remote unfetched was fetched, which may need what it has; git fetch"
    assert search("own").left == [f"the remote own is left: {why}"]
    assert objects(remote) == theirs | ours
    git("remote", "remove", "unfetched")
    remove_unneeded(remote="own")
    assert objects(remote) == ours


def test_what_others_pushed_to_a_remote_stays(project, clone):
    """No branch that was fetched names it, and this project's cache does not have it."""
    os.chdir(project)
    theirs = make("not committed")
    dvc("push", "--quiet")
    os.chdir(clone)
    found = search("own")
    assert found.left == ["4 objects in own are left: this cache does not have them, so others may have pushed them"]
    found.remove(found.unneeded([]))
    assert theirs <= objects(project / "remote/files/md5")


def test_a_remote_that_every_clone_knows_is_left(project, clone):
    os.chdir(project)
    Path(".dvc/config.local").rename(".dvc/config")
    commit("the team's remote")
    os.chdir(clone)
    git("fetch", "--quiet")
    of_nothing, of_the_workspace = make("forgotten"), make("current")
    dvc("push", "--quiet")
    remote = objects(project / "remote/files/md5")
    (left,) = search("own").left
    assert "names it too, so clones push to it; prune one that only this project pushes to: dvc remote add --local" in left
    remove_unneeded(remote="own")
    assert objects() & (of_nothing | of_the_workspace) == of_the_workspace
    assert objects(project / "remote/files/md5") == remote


def test_a_cache_outside_of_the_project_is_left(project, tmp_path_factory):
    """Another project may use it. A link to another disk leads out of the project too."""
    make("forgotten")
    make("current")
    elsewhere = tmp_path_factory.mktemp("shared") / "cache"
    Path(".dvc/cache").rename(elsewhere)
    Path(".dvc/cache").symlink_to(elsewhere)
    before = objects(elsewhere / "files/md5")
    found = search("own")
    assert found.remove(found.unneeded([])) == []
    why = "it lies outside of the project's folder, where other projects may use it; see upkeep.own_cache"
    assert found.left == [
        f"the cache {OBJECTS.absolute()} is left: {why}",
        "the remote own is left: without the cache, nothing tells what in it is this project's",
    ]
    assert objects(elsewhere / "files/md5") == before
    (removed,) = remove_unneeded(own_cache=True)
    assert len(removed.sizes) == 4


@pytest.mark.exhaustive
def test_a_remote_on_s3_is_pruned_or_named(project, monkeypatch, tmp_path_factory):
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    with s3_server(tmp_path_factory.mktemp("s3") / "log", "data") as address:
        dvc("remote", "add", "--local", "away", "s3://data/iedit")
        dvc("remote", "modify", "--local", "away", "endpointurl", address)
        for text in ("forgotten", "current"):
            make(text)
            dvc("push", "--remote", "away")
        before = objects()
        assert [(each.place, len(each.sizes)) for each in remove_unneeded(remote="away")] == [("cache", 4), ("away", 4)]
        make("later")
        found = search("away")
    left = objects()
    assert len(before - left) == 4
    for prune in (lambda: search("away"), lambda: found.remove([Unneeded(place="away", sizes=dict.fromkeys(left, 1))])):
        with pytest.raises(InputError, match=r"^DVC cannot (determine what is needed|remove what nothing needs): [^\n]+$"):
            prune()
    assert objects() == left


def lock(text: str, folder: Path = Path()) -> str:
    """Put an object into the cache and name it in a dvc.lock, as a run of the stage would; return its digest."""
    md5 = md5_of(text)
    place = OBJECTS / md5[:2] / md5[2:]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    entry = {"cmd": "true", "outs": [{"path": "note.txt", "hash": "md5", "md5": md5, "size": len(text)}]}
    (folder / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"make": entry}}))
    return md5


def test_whatever_git_has_a_name_for_is_kept(project, tmp_path_factory):
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"make": {"cmd": "true", "outs": ["note.txt"]}}}))
    commit("without a lock")
    named = {"stash of untracked files": lock("untracked")}
    git("stash", "--quiet", "--include-untracked")
    lock("first")
    commit("with a lock")
    for name in ("older stash", "stash"):
        named[name] = lock(name)
        git("stash", "--quiet")
    named["merge that was killed"] = lock("merged")
    git("update-ref", "MERGE_AUTOSTASH", git("stash", "create"))
    git("checkout", "--quiet", "--detach", "--force")
    for name in ("tag", "detached HEAD"):
        named[name] = lock(name)
        commit(name)
        if name == "tag":
            git("tag", "--annotate", "--message", "a tag", "tagged")
            git("tag", "--annotate", "--message", "a tag of a tag", "again", "tagged")
    worktree = tmp_path_factory.mktemp("worktrees") / "ours"
    git("worktree", "add", "--quiet", "--detach", str(worktree))
    named["detached HEAD of a worktree"] = lock("of the worktree", worktree)
    git("-C", str(worktree), "add", "--all")
    git("-C", str(worktree), "commit", "--quiet", "--message", "there")
    named["files of a worktree"] = lock("not committed", worktree)
    forgotten, named["workspace"] = lock("forgotten"), lock("current")
    remove_unneeded()
    assert {name for name, md5 in named.items() if md5 not in objects()} == set()
    assert forgotten not in objects()


def test_a_list_of_files_that_is_lost_stops_it(project):
    made = make("committed")
    commit("first")
    make("current")
    (folder,) = [each for each in made if each.endswith(".dir")]
    (OBJECTS / folder[:2] / folder[2:]).unlink()
    left = objects()
    with pytest.raises(InputError, match=r"^DVC cannot determine what is needed: "):
        remove_unneeded()
    assert objects() == left


def test_an_unknown_remote_removes_nothing(project):
    make("forgotten")
    make("current")
    left = objects()
    with pytest.raises(InputError, match=r"^typo: no remote of DVC; there are own$"):
        search("typo")
    assert objects() == left
