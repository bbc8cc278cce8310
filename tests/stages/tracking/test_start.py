"""What a version continued is put into a clone, to rebuild it."""

import pytest

from stages.core.errors import InputError
from stages.core.files import folder_digest, read_json
from stages.core.paths import START
from stages.tracking import store
from stages.tracking.start import put_recorded_start


def test_the_recorded_version_is_put_into_a_clone(registered_project, champion, tmp_path):
    model = registered_project / "models/iedit"
    recorded = {"version": champion.version, "model": folder_digest(model), "why": "few pairs changed"}
    put_recorded_start(store.connect(), recorded, tmp_path)
    assert folder_digest(tmp_path / START / "unet") == folder_digest(model / "unet")
    assert read_json(tmp_path / START / "start.json") == recorded | {"basis": None}
    put_recorded_start(store.connect(), {"why": "there is no champion"}, tmp_path)
    assert [path.name for path in (tmp_path / START).iterdir()] == ["start.json"]


def test_a_version_that_is_gone_or_another_is_named(champion, tmp_path):
    recorded = {"version": "9", "model": "f" * 64, "why": "few pairs changed"}
    with pytest.raises(InputError, match=r"^models:/iedit/9: "):
        put_recorded_start(store.connect(), recorded, tmp_path)
    with pytest.raises(InputError, match=r"^models:/iedit/1: is not the model from which the version was trained$"):
        put_recorded_start(store.connect(), recorded | {"version": champion.version}, tmp_path)
    assert not (tmp_path / START).exists()
