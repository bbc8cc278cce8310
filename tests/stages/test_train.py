"""Stage train: what stops it before any work."""

import shutil
import time
from pathlib import Path

import pytest
import yaml

from stages.__main__ import stage_named
from stages.core.errors import InputError
from stages.train import train
from tests.support.tiny_corpus import contents, params_for, write_training_pairs


def test_a_missing_store_is_an_error_before_any_work(models, workplace, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # the port of the discard service: nobody listens
    params = write_training_pairs(models)
    before = contents(workplace)
    monkeypatch.setattr("stages.__main__.on_interrupt", lambda _: None)
    started = time.monotonic()
    with pytest.raises(InputError, match="tracking server"):
        stage_named("train")(params)
    assert time.monotonic() - started < 10
    after = contents(workplace)
    assert {name for name in after if after[name] != before.get(name)} == set()


def test_a_missing_model_is_an_error_before_any_work(models, workplace):
    params = write_training_pairs(models, train={"vgg": {"name": "nowhere"}})
    with pytest.raises(InputError, match=r"^train\.vgg\.name = 'nowhere': neither a folder nor a hub id"):
        train(params)
    assert not Path("models").exists()
    assert not Path("reports").exists()


@pytest.mark.parametrize(("role", "file"), [("vgg", "model.safetensors"), ("clip", "open_clip_config.json")])
def test_a_damaged_model_is_an_error_before_any_work(models, workplace, monkeypatch, role, file):
    params = write_training_pairs(models)
    Path("params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    monkeypatch.setattr("stages.training.runner.encode_training_set", lambda *_, **__: pytest.fail("the work was begun"))
    damaged = shutil.copytree(getattr(params.train, role).name, workplace / "damaged")
    (damaged / file).write_bytes((damaged / file).read_bytes()[:-9])
    with pytest.raises(InputError, match=rf"^train\.{role}\.name = 'damaged': "):
        train(params_for(models, train={role: {"name": "damaged"}}))
