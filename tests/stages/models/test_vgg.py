"""Which errors come from VGG's folder, and which do not."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.models import vgg
from stages.models.hub import ModelError, locate
from stages.models.vgg import load_vgg
from tests.support import tiny


@pytest.fixture(autouse=True)
def empty_cache():
    locate.cache_clear()


def test_a_network_of_another_depth_is_no_vgg_16(tmp_path):
    model = tiny.tiny_vgg(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file(
        {key: value for key, value in weights.items() if not key.startswith("features.28.")}, tmp_path / "model.safetensors"
    )
    with pytest.raises(ModelError, match="12 convolutions; VGG-16 has 13"):
        load_vgg(model)


def test_lack_of_memory_is_not_reported_as_damage(monkeypatch, tmp_path):
    def fail(_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(vgg, "load_file", fail)
    with pytest.raises(torch.OutOfMemoryError):
        load_vgg(tiny.tiny_vgg(tmp_path))
