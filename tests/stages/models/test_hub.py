"""What identifies a model's weights."""

import pytest

from stages.core.params import ModelName, Params
from stages.core.params_file import read_params
from stages.models.hub import describe_models, identity, known_identity, locate
from tests.support import ROOT, tiny


@pytest.fixture(autouse=True)
def empty_caches():
    locate.cache_clear()
    identity.cache_clear()


def test_a_hub_model_is_identified_by_its_commit(monkeypatch, tmp_path):
    asked = {}

    def download(name: str, *, revision: str, allow_patterns: list[str]) -> str:
        asked.update(name=name, revision=revision, patterns=allow_patterns)
        tiny.tiny_vgg(tmp_path / "c0ffee")
        return str(tmp_path / "c0ffee")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert identity(ModelName(name="owner/vgg", revision="v1")) == "c0ffee"
    assert (asked["name"], asked["revision"]) == ("owner/vgg", "v1")
    assert not any(pattern.endswith((".bin", ".pt", ".py")) for pattern in asked["patterns"])


def test_a_folder_is_identified_by_all_its_files(tmp_path):
    model = tiny.tiny_clip(tmp_path)
    seen = {identity(model)}
    files = sorted(tmp_path.iterdir())
    for path in files:
        path.write_bytes(path.read_bytes() + b" ")
        identity.cache_clear()
        seen.add(identity(model))
    assert len(seen) == 1 + len(files)


def test_an_absent_hub_model_is_identified_by_its_revision():
    assert known_identity(ModelName(name="nobody/nothing", revision="0" * 40)) == "0" * 40


def test_every_model_of_the_parameters_is_described(monkeypatch):
    monkeypatch.chdir(ROOT)
    params: Params = read_params()
    described = describe_models(params)
    assert described["train.base"]["identity"] == identity(params.train.base)
    assert {"caption.model", "retrieve.clip", "segment.model", "train.vgg", "evaluate.judge"} <= described.keys()
    assert all(set(each) == {"name", "revision", "identity"} for each in described.values())
