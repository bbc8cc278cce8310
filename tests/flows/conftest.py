"""Fixtures for the tests of the flows."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.testing.utilities import prefect_test_harness

from flows.support import artifacts, registry
from tests.support.flow_project import DVC_FILE, make_dvc_project


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
