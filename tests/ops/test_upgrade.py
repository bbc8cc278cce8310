"""Going to another release after nights that changed the project: real git, DVC and stages, Prefect's temporary server."""

import fcntl
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.small_project import choose, commit, environment_of, make_project, run

NIGHTS = """
import sys
from flows.refresh import refresh
for images in map(int, sys.argv[1:]):
    refresh(images)
"""


def nights(project: Path, *images: str) -> None:
    run(project, sys.executable, "-c", NIGHTS, *images)


def git(project: Path, *words: str) -> str:
    return run(project, "git", "-c", "user.name=t", "-c", "user.email=t@localhost", *words).strip()


def params(project: Path) -> dict:
    return yaml.safe_load((project / "params.yaml").read_text())


def release(upstream: Path, name: str, nights: int) -> None:
    """Publish a release with a new default in conf/ and other code."""
    base = upstream / "conf" / "base.yaml"
    base.write_text(re.sub(r"  nights: \d+ #", f"  nights: {nights} #", base.read_text()))
    with (upstream / "stages" / "mutate.py").open("a") as file:
        file.write(f"\nRELEASE = {name!r}\n")
    choose(upstream)
    commit(upstream, name)
    git(upstream, "tag", name)


@pytest.fixture
def releases(tmp_path) -> tuple[Path, Path]:
    """The project at its first release, and the repository where releases are published."""
    upstream, project = tmp_path / "upstream", tmp_path / "iedit"
    make_project(upstream)
    choose(upstream, "drift.max_difference=null", "drift.max_ratio=null")  # so few images differ much from night to night
    commit(upstream, "v1")
    shutil.copytree(upstream, project)
    release(upstream, "v2", 15)
    git(project, "fetch", "--quiet", "--tags", str(upstream))
    (project / ".venv").mkdir()
    (project / ".venv" / "installed").touch()  # use the packages that run the tests
    for key, value in {"user.name": "t", "user.email": "t@localhost"}.items():
        git(project, "config", key, value)
    return project, upstream


def refused(project: Path, *command: str) -> str:
    environment = environment_of(project)
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    return done.stdout + done.stderr


def test_a_release_after_three_nights_keeps_the_choices(releases):
    project, _ = releases
    nights(project, "56", "64", "72")
    changed = git(project, "status", "--porcelain").splitlines()
    assert changed == ["M conf/config.yaml", " M params.yaml", "?? dvc.lock"]
    assert "params.yaml" in refused(project, "git", "checkout", "v2")

    with (project / "logs" / "lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "a stage is at work" in refused(project, "make", "upgrade", "RELEASE=v2")
    assert (params(project)["ingest"]["source"]["images"], params(project)["drift"]["nights"]) == (72, 14)
    run(project, "make", "upgrade", "RELEASE=v2")
    assert git(project, "rev-parse", "HEAD") == git(project, "rev-parse", "v2")
    assert (params(project)["ingest"]["source"]["images"], params(project)["drift"]["nights"]) == (72, 15)
    assert git(project, "status", "--porcelain").splitlines() == changed
    assert git(project, "stash", "list") == ""

    nights(project, "80")
    made = {stage: json.loads((project / "logs" / f"{stage}.json").read_text()) for stage in ("ingest", "mutate")}
    assert made["ingest"]["shards_reused"] == 3
    assert made["mutate"]["shards_reused"] == 0  # the release's code made them again


def test_a_release_is_merged_into_a_branch_of_ones_own(releases):
    """Where choices and dvc.lock are committed."""
    project, _ = releases
    choose(project, "ingest.source.images=80")
    (project / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    commit(project, "ours")
    run(project, "make", "upgrade", "RELEASE=v2")
    assert (params(project)["ingest"]["source"]["images"], params(project)["drift"]["nights"]) == (80, 15)
    assert git(project, "status", "--porcelain") == ""
    assert (project / "dvc.lock").is_file()


def test_a_release_that_cannot_be_installed_keeps_the_choices(releases):
    """And the upgrade can be repeated."""
    project, upstream = releases
    choose(project, "train.steps=5")
    with (upstream / "requirements.lock").open("a") as file:
        file.write("# the same packages\n")
    release(upstream, "v3", 16)
    git(project, "fetch", "--quiet", "--tags", str(upstream))
    refused(project, "make", "upgrade", "RELEASE=v3", "PYTHON=false")
    assert (params(project)["train"]["steps"], params(project)["drift"]["nights"]) == (5, 16)
    (project / ".venv" / "installed").touch()
    run(project, "make", "upgrade", "RELEASE=v3")
    assert (params(project)["train"]["steps"], params(project)["drift"]["nights"]) == (5, 16)


def test_an_upgrade_that_was_killed_can_be_repeated(releases):
    """Before, or after, it has merged the release, when params.yaml is still as git has it."""
    project, _ = releases
    choose(project, "train.steps=5")
    git(project, "restore", "params.yaml")
    run(project, "make", "upgrade", "RELEASE=v2")
    assert (params(project)["train"]["steps"], params(project)["drift"]["nights"]) == (5, 15)
    git(project, "restore", "params.yaml")
    run(project, "make", "upgrade", "RELEASE=v2")
    assert (params(project)["train"]["steps"], params(project)["drift"]["nights"]) == (5, 15)
    values = params(project)
    values["train"]["steps"] = 7
    (project / "params.yaml").write_text(yaml.safe_dump(values))
    assert "train.steps = 7" in refused(project, "make", "upgrade", "RELEASE=v2")


def test_a_choice_that_the_release_changes_too_is_shown(releases):
    """Nothing is composed until a person has decided."""
    project, upstream = releases
    choose(project, "train.steps=5")
    choose(upstream, "train.steps=9")
    commit(upstream, "v3")
    git(project, "fetch", "--quiet", str(upstream), "HEAD:refs/tags/v3")
    assert "error: conf/config.yaml" in refused(project, "make", "upgrade", "RELEASE=v3")
    assert "<<<<<<<" in (project / "conf" / "config.yaml").read_text()
    git(project, "checkout", "stash@{0}", "--", "conf/config.yaml")  # the project's own
    run(project, "make", "upgrade", "RELEASE=v3")
    assert params(project)["train"]["steps"] == 5
    assert params(project)["drift"]["nights"] == 15
