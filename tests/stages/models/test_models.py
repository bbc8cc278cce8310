"""What pins a model's weights, and which errors are its folder's and which are not."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.core.params import ModelName
from stages.models import vgg as models
from stages.models.hub import ModelError, identity, known_identity, locate
from stages.models.vgg import load_vgg
from tests.support import tiny


@pytest.fixture(autouse=True)
def _forget():
    locate.cache_clear()
    identity.cache_clear()


def test_a_model_of_the_hub_is_known_by_its_commit(monkeypatch, tmp_path):
    asked = {}

    def download(name: str, *, revision: str, allow_patterns: list[str]) -> str:
        asked.update(name=name, revision=revision, patterns=allow_patterns)
        tiny.tiny_vgg(tmp_path / "c0ffee")
        return str(tmp_path / "c0ffee")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert identity(ModelName(name="owner/vgg", revision="v1")) == "c0ffee"
    assert (asked["name"], asked["revision"]) == ("owner/vgg", "v1")
    assert not any(pattern.endswith((".bin", ".pt", ".py")) for pattern in asked["patterns"])


def test_a_folder_is_known_by_all_its_files(tmp_path):
    model = tiny.tiny_clip(tmp_path)
    seen = {identity(model)}
    files = sorted(tmp_path.iterdir())
    for path in files:
        path.write_bytes(path.read_bytes() + b" ")
        identity.cache_clear()
        seen.add(identity(model))
    assert len(seen) == 1 + len(files)


def test_a_network_of_another_depth_is_no_vgg_16(tmp_path):
    model = tiny.tiny_vgg(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file(
        {key: value for key, value in weights.items() if not key.startswith("features.28.")}, tmp_path / "model.safetensors"
    )
    with pytest.raises(ModelError, match="12 convolutions; VGG-16 has 13"):
        load_vgg(model)


def test_lack_of_memory_is_no_damage(monkeypatch, tmp_path):
    def fail(_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(models, "load_file", fail)
    with pytest.raises(torch.OutOfMemoryError):
        load_vgg(tiny.tiny_vgg(tmp_path))


def test_a_model_of_the_hub_that_is_not_here_is_known_by_its_revision():
    assert known_identity(ModelName(name="nobody/nothing", revision="0" * 40)) == "0" * 40
