"""Installing by several at once, and `make upgrade` where git's merge fails or is killed: the choices are kept.

tests/ops/test_upgrade.py runs nights besides.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support import ROOT
from tests.support.composed import copy_conf
from tests.support.small_project import choose

FILES = ("Makefile", "requirements.lock", "pyproject.toml", ".gitignore")
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
IDENTITY = {"user.name": "t", "user.email": "t@localhost"}
# In place of Python: its environment has a pip that takes a moment, and notes it.
PYTHON = f"""#!/bin/sh
[ "$1" = -m ] || exec {sys.executable} "$@"
mkdir -p .venv/bin
printf '#!/bin/sh\\necho begins >> pip.log\\nsleep 0.3\\necho ends >> pip.log\\n' > .venv/bin/pip
chmod +x .venv/bin/pip
"""
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | ENVIRONMENT | {"PATH": PATH}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def git(folder: Path, *words: str) -> str:
    done = run(folder, "git", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit(folder: Path, name: str, tag: str | None = None) -> None:
    git(folder, "add", "--all")
    who = (word for key, value in IDENTITY.items() for word in ("-c", f"{key}={value}"))
    git(folder, *who, "commit", "--quiet", "--message", name)
    if tag is not None:
        git(folder, "tag", tag)


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A project at v1; v2 has another default, beside the number of images in params.yaml, and v3 chooses that number too."""
    folder = tmp_path_factory.mktemp("upgrade") / "my project"
    folder.mkdir()
    copy_conf(folder)
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    commit(folder, "one", "v1")
    source = folder / "conf/source/openmoji.yaml"
    source.write_text(re.sub(r"  cases: \d+ #", "  cases: 200 #", source.read_text()))
    choose(folder)
    commit(folder, "two", "v2")
    choose(folder, "ingest.source.images=9000")
    commit(folder, "three", "v3")
    return folder


@pytest.fixture
def project(repository, tmp_path) -> Path:
    """The project at v1 with a choice that is not committed, as nights leave it."""
    folder = tmp_path / "my project"
    shutil.copytree(repository, folder)
    git(folder, "reset", "--quiet", "--hard", "v1")
    for key, value in IDENTITY.items():
        git(folder, "config", key, value)
    choose(folder, "ingest.source.images=7000")
    (folder / ".venv").mkdir()
    (folder / ".venv/installed").touch()  # use the packages that run the tests
    return folder


def upgrade(project: Path, release: str) -> str:
    """Run `make upgrade`, and return its last error, if it fails."""
    done = run(project, "make", "upgrade", f"RELEASE={release}")
    errors = re.findall(r"^error: .*", done.stdout, re.MULTILINE)
    assert bool(done.returncode) == bool(errors), done.stdout + done.stderr
    return errors[-1] if errors else ""


def chosen(project: Path) -> tuple[int, int]:
    """The number of images, which was chosen, and that of cases, which is the release's."""
    source = yaml.safe_load((project / "params.yaml").read_text())["ingest"]["source"]
    return source["images"], source["cases"]


def decide(project: Path) -> None:
    """Resolve git's marks in favour of the project's choice."""
    config = project / "conf/config.yaml"
    assert "<<<<<<<" in config.read_text()
    config.write_text(re.sub(r"<<<<<<<.*?=======\n(.*?)>>>>>>> [^\n]*\n", r"\1", config.read_text(), flags=re.DOTALL))


def test_a_choice_that_is_staged_is_kept(project):
    git(project, "add", "--all")
    assert upgrade(project, "v2") == ""
    assert chosen(project) == (7000, 200)


@pytest.mark.parametrize("reached", ["v1", "v2"])
def test_a_merge_that_is_killed_keeps_the_choices(project, reached):
    """git has put the changes aside; the project's files are those of either release."""
    git(project, "restore", "params.yaml")
    aside = git(project, "stash", "create")
    git(project, "reset", "--quiet", "--hard", reached)
    (project / ".git/MERGE_AUTOSTASH").write_text(f"{aside}\n")
    assert upgrade(project, "v2") == ""
    assert chosen(project) == (7000, 200)
    assert git(project, "status", "--porcelain").split() == ["M", "conf/config.yaml", "M", "params.yaml"]


@pytest.mark.parametrize("has_applied", [False, True])
def test_a_killed_merge_of_a_contradicting_release_is_decided_once(project, has_applied):
    """git has merged the release; in the second case also the changes, which left marks in the files and in the index."""
    git(project, "restore", "params.yaml")
    aside = git(project, "stash", "create")
    git(project, "reset", "--quiet", "--hard", "v3")
    (project / ".git/MERGE_AUTOSTASH").write_text(f"{aside}\n")
    if has_applied:
        assert run(project, "git", "stash", "apply", "MERGE_AUTOSTASH").returncode
    assert upgrade(project, "v3").startswith("error: conf/config.yaml: the release changes what you have changed")
    assert git(project, "rev-parse", "stash") == aside
    decide(project)
    assert upgrade(project, "v3") == ""
    assert chosen(project) == (7000, 200)


def test_a_merge_that_cannot_be_committed_changes_nothing(project):
    """The branch has a commit of its own, and git does not know who merges."""
    (project / "own").touch()
    git(project, "add", "own")
    git(project, "commit", "--quiet", "--message", "own", "own")
    for key in IDENTITY:
        git(project, "config", "--unset", key)
    git(project, "config", "user.useConfigOnly", "true")
    assert upgrade(project, "v2").startswith("error: v2 was not merged, and nothing is changed")
    assert chosen(project) == (7000, 300)
    for key, value in IDENTITY.items():
        git(project, "config", key, value)
    assert upgrade(project, "v2") == ""
    assert chosen(project) == (7000, 200)


def test_commits_that_the_release_contradicts_are_kept(project):
    """They conflict in params.yaml too, and must not end as a params.yaml without the choices."""
    commit(project, "own")
    (project / "requirements.lock").write_text("changed\n")
    assert upgrade(project, "v3").startswith("error: v3 was not merged, and nothing is changed")
    assert chosen(project) == (7000, 300)
    assert git(project, "status", "--porcelain") == "M requirements.lock"


@pytest.mark.parametrize("has_commits", [False, True])
def test_a_choice_that_the_release_changes_is_decided_once(project, has_commits):
    """After that, tables can be made from the changed files, and the upgrade repeated; also where git has to merge commits."""
    if has_commits:
        git(project, "commit", "--quiet", "--allow-empty", "--message", "own")
    assert upgrade(project, "v3").startswith("error: conf/config.yaml: the release changes what you have changed")
    decide(project)
    git(project, "stash", "create")  # as flows/support/sandbox.py does
    assert upgrade(project, "v3") == ""
    assert chosen(project) == (7000, 200)


def test_of_several_that_install_at_once_one_does(tmp_path):
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    command = ["make", ".venv/installed", f"PYTHON={python}"]
    makes = [subprocess.Popen(command, cwd=tmp_path) for _ in range(3)]
    assert [make.wait() for make in makes] == [0, 0, 0]
    assert (tmp_path / "pip.log").read_text().split() == ["begins", "ends"] * 2  # its packages, then the project
