"""Fixtures for the tests of stages: the registry, the command ``iedit``, the editor and trainings."""

import os
import shutil

import pytest


@pytest.fixture(scope="session")
def registered_project(tmp_path_factory):
    """A project whose registry has a champion of tiny models, shared by the tests that only read it."""
    from tests.support.registered import make_registered_project

    folder = tmp_path_factory.mktemp("registered")
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    make_registered_project(folder)
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # MLflow writes it, and the next test would use it
    return folder


@pytest.fixture
def champion(registered_project, monkeypatch):
    """The champion of the registered project, which is the current folder."""
    from stages.tracking import registry

    monkeypatch.chdir(registered_project)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return registry.find_version(registry.CHAMPION_URI)


@pytest.fixture(scope="session")
def recorded_original(tmp_path_factory):
    """The project of ``recorded_project``, made once."""
    from tests.support.recorded_project import make_recorded_project

    folder = tmp_path_factory.mktemp("recorded") / "project"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_recorded_project()
    return folder


@pytest.fixture
def recorded_project(recorded_original, tmp_path, monkeypatch):
    """The current folder: a git and DVC project with outs of three stages, and an untracked dvc.lock."""
    folder = tmp_path / "project"
    shutil.copytree(recorded_original, folder, symlinks=True)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


@pytest.fixture
def version(recorded_project, empty_store):
    """A version in the registry of ``recorded_project``."""
    from stages.tracking import registry, store

    shutil.copy(empty_store, recorded_project)
    client = store.connect()
    model = client.create_logged_model(store.experiment_id(client), name="iedit")
    tags = {"iedit.digest": "d"}
    client.create_model_version(
        "iedit", f"models:/{model.model_id}", model_id=model.model_id, tags=tags, description="promoted: why"
    )
    return registry.find_version("1")


@pytest.fixture(scope="session")
def editor(models):
    """An editor of tiny random models."""
    from stages.editing.editor import Editor

    return Editor.load(models.diffusion, models.segmenter)


@pytest.fixture(scope="session")
def tools(tmp_path_factory):
    """Tiny models, loaded and on disk, and an encoded training set of five samples in two shards; no test changes them."""
    from tests.support.training import make_tools

    return make_tools(tmp_path_factory.mktemp("tools"))
