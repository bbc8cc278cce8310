"""Registering a model, and the files of the logged model."""

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

from stages.core.files import folder_digest, value_digest
from stages.tracking import registration, registry, store
from tests.support.registered import EXAMPLE
from tests.support.versions import stop


def test_model_is_registered_once(registered_project, champion):
    folders = registered_project / "models/iedit", registered_project / "segmenter"
    again = registration.register(*folders, metrics={"clip_score": 62.0}, example=EXAMPLE)
    assert again.version == champion.version
    assert again.is_champion
    assert again.metrics == {"clip_score": 62.0}
    assert registry.current_champion() == registry.latest_version() == again
    assert len(store.connect().search_model_versions("name = 'iedit'")) == 1


def test_unregistered_rest_of_a_kill_is_removed(registered_project, champion, tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")  # another segmenter's
    model = registered_project / "models/iedit"
    parts = {"iedit.model_digest": folder_digest(model), "iedit.segmenter_digest": folder_digest(tmp_path)}
    tags = {registry.DIGEST: value_digest(parts)}
    client = store.connect()
    experiment = store.experiment_id(client)
    left = client.create_logged_model(experiment, registry.NAME, tags=tags)
    client.log_model_artifact(left.model_id, str(tmp_path / "config.json"))
    files = Path(url2pathname(urlsplit(left.artifact_location).path))
    assert files.is_dir()
    monkeypatch.setattr(registration.Model, "log", stop)
    with pytest.raises(KeyboardInterrupt):
        registration.register(model, tmp_path, metrics={}, example=EXAMPLE)
    assert left.model_id not in {each.model_id for each in client.search_logged_models([experiment])}
    assert not files.exists()


def test_logged_model_has_same_weights_and_no_pickle(registered_project, champion):
    folder = registry.fetch_model(store.connect(), registry.CHAMPION_URI)
    names = [path.name for path in folder.rglob("*") if path.is_file()]
    assert not [name for name in names if name.endswith((".pkl", ".bin", ".pt", ".pth", ".ckpt", ".pickle"))]
    assert {"pyfunc_model.py", "input_example.json", "requirements.txt"} <= set(names)
    assert folder_digest(registered_project / "models/iedit") == folder_digest(folder / "artifacts/iedit")
    assert f"torch=={registration.installed_version('torch').partition('+')[0]}" in (folder / "requirements.txt").read_text()
