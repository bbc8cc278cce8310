"""A project's own store in a folder that was moved or copied."""

import os
import shutil
from pathlib import Path

import mlflow
import pytest
import sqlalchemy
from PIL import Image

from stages.editing.pictures import decode_picture, encode_picture
from stages.tracking import registry, retention, store
from stages.tracking.training_run import TRAINING
from tests.support.stores import forget_places


@pytest.fixture
def moved(registered_project, tmp_path, monkeypatch) -> Path:
    """The current folder: a project with a champion, which lay elsewhere when the champion was registered."""
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(registered_project, first)
    enter(first, monkeypatch)
    store.connect()
    first.rename(second)
    enter(second, monkeypatch)
    return second


def enter(folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # MLflow writes it
    forget_places()


def stored_texts() -> list[str]:
    """Every text in every table of the current folder's store."""
    engine = sqlalchemy.create_engine("sqlite:///mlflow.db")
    tables = sqlalchemy.MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        rows = [row for table in tables.sorted_tables for row in connection.execute(sqlalchemy.select(table))]
    engine.dispose()
    return [value for row in rows for value in row if isinstance(value, str)]


def places() -> list[str]:
    """What the store names below a folder of artifacts."""
    return [text for text in stored_texts() if "/mlruns" in text]


def test_the_champion_of_a_moved_project_loads_and_edits(moved):
    client = store.connect()
    editor = mlflow.pyfunc.load_model("models:/iedit@champion")
    request = {"image": encode_picture(Image.open("photo.png")), "prompt": "a red dog", "term": "dog"}
    (edited,) = editor.predict([request], params={"num_images": 1, "seed": 0}).image
    assert decode_picture(edited).size == Image.open("photo.png").size
    assert registry.fetch_model(client, "models:/iedit@champion").is_relative_to(moved)


@pytest.mark.parametrize("original_stays", [False, True])
def test_a_store_older_than_the_tag_follows_its_folder(moved, original_stays):
    """It names its folder only in the paths."""
    engine = sqlalchemy.create_engine("sqlite:///mlflow.db")
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("DELETE FROM experiment_tags WHERE key = 'iedit.project'"))
    engine.dispose()
    if original_stays:
        shutil.copytree(moved, moved.with_name("first"))
    test_no_path_leads_to_the_old_folder(moved)


def test_no_path_leads_to_the_old_folder(moved):
    old = str(moved.with_name("first"))
    assert any(text.removeprefix("file://").startswith(f"{old}/mlruns") for text in places())
    store.connect(create=False)
    assert places()
    assert [text for text in places() if not text.removeprefix("file://").startswith(f"{moved}/mlruns")] == []


def test_pruning_a_copy_keeps_the_files_of_the_original(moved, monkeypatch):
    client = store.connect()
    copy = moved.with_name("copy")
    shutil.copytree(moved, copy)
    before = sorted(path for path in moved.rglob("*") if path.is_file())
    enter(copy, monkeypatch)
    client = store.connect()
    run = client.create_run(store.experiment_id(client), tags={TRAINING: "a name"}).info.run_id
    client.log_artifact(run, "params.yaml", "checkpoints")
    client.set_terminated(run)
    registry.set_alias(client, registry.CHAMPION, "1")
    kept = retention.plan_retention(client, 1)
    retention.apply_retention(client, kept)
    assert [each.info.run_id for each in kept.checkpoints] == [run]
    assert not list((copy / "mlruns").rglob("checkpoints"))
    assert sorted(path for path in moved.rglob("*") if path.is_file()) == before


@pytest.mark.parametrize("is_mounted", [True, False])
def test_artifacts_that_lie_elsewhere_on_purpose_stay_there(moved, tmp_path, monkeypatch, is_mounted):
    """Also if their disk is away, the project has a folder of the same name, and moves."""
    client, large = store.connect(), tmp_path / "large/mlruns/iedit"
    client.rename_experiment(store.experiment_id(client), "before")
    client.create_experiment("iedit", artifact_location=large.as_uri())
    store.connect()
    if is_mounted:
        large.mkdir(parents=True)
    Path("mlruns/iedit").mkdir(parents=True, exist_ok=True)
    assert store.connect().get_experiment_by_name("iedit").artifact_location == large.as_uri()
    enter(moved.rename(tmp_path / "third"), monkeypatch)
    assert store.connect().get_experiment_by_name("iedit").artifact_location == large.as_uri()
