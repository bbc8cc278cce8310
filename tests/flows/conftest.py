"""Fixtures for the tests of the flows."""

import logging
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo
from prefect.testing.utilities import prefect_test_harness

from flows import ablation
from flows.support import artifacts, registry, sandbox
from stages.core.provenance import source_digest
from tests.support import ROOT
from tests.support.composed import copy_conf
from tests.support.experiments import WHO, Work, git
from tests.support.flow_project import DVC_FILE, make_dvc_project

digest_once = cache(source_digest)  # the code does not change while tests run, and parsing all of it takes long


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[None]:
    """A Prefect server of the tests' own; one for all, because a start takes many seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
        with prefect_test_harness(server_startup_timeout=300):
            yield


@pytest.fixture(scope="module")
def dvc_project(tmp_path_factory) -> Iterator[Path]:
    """The current folder: a DVC project without git, with a pipeline in a subfolder besides its own."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "nested").mkdir()
    (folder / "nested" / "dvc.yaml").write_text("stages:\n  inner:\n    cmd: echo inner > ../inner.txt\n")
    for name in ("logs", "reports/latest", "runs"):
        (folder / name).mkdir(parents=True)
    make_dvc_project(folder, DVC_FILE)
    copy_conf(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.fixture
def published(monkeypatch) -> dict[str, str]:
    """The artifacts that tasks publish when they are called as functions, by their keys."""
    found: dict[str, str] = {}
    monkeypatch.setattr(registry, "create_markdown_artifact", lambda key, markdown, **_: found.update({key: markdown}))
    monkeypatch.setattr(artifacts, "create_markdown_artifact", lambda key, markdown, **_: found.update({key: markdown}))
    monkeypatch.setattr(artifacts, "create_link_artifact", lambda key, link, **_: found.update({key: link}))
    return found


class Called:
    """A task that is called as a function, without Prefect's engine and its server."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def with_options(self, **_: object) -> "Called":
        return self

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._function(*arguments, **named)


@pytest.fixture
def without_engine(monkeypatch) -> Callable[..., None]:
    """A function that makes the named tasks of a module plain functions."""

    def call(module: Any, *names: str) -> None:
        for name in names:
            monkeypatch.setattr(module, name, Called(getattr(module, name).fn))
        monkeypatch.setattr(module, "get_run_logger", logging.getLogger, raising=False)

    return call


@pytest.fixture
def work(empty_store, tmp_path, monkeypatch) -> Work:
    """The current folder: a repository with uncommitted changes, an untracked dvc.lock, and a model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("dvc.yaml", "params.yaml", ".gitignore"):
        shutil.copy(ROOT / name, name)
    shutil.copytree(ROOT / "conf", "conf")
    git("init", "--quiet")
    Repo.init().close()
    mine = {"models/iedit/weights": "mine", "stages.txt": "changed", "dvc.lock": "schema: '2.0'\nstages: {}\n"}
    for name in (*mine, "gone"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("{}")
    Path("dvc.lock").unlink()
    git("add", "--all")
    git(*WHO, "commit", "--quiet", "--message", "start")
    for name, content in mine.items():
        Path(name).write_text(content)
    Path("gone").unlink()
    shutil.copy(empty_store, tmp_path)
    work = Work(mine)
    work.choose("seed=1")
    monkeypatch.setattr(sandbox, "run_logged", work.run)
    monkeypatch.setattr(ablation, "source_digest", digest_once)
    return work
