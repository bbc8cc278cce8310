"""What identifies a model's weights."""

import pytest

from stages.core.params import ModelName, Params
from stages.core.params_file import read_params
from stages.models.hub import describe_models, identity, locate
from tests.support import ROOT, tiny


@pytest.fixture(autouse=True)
def empty_caches():
    locate.cache_clear()
    identity.cache_clear()


def test_a_folder_is_identified_by_all_its_files(tmp_path):
    model = tiny.tiny_clip(tmp_path)
    seen = {identity(model)}
    files = sorted(tmp_path.iterdir())
    for path in files:
        path.write_bytes(path.read_bytes() + b" ")
        identity.cache_clear()
        seen.add(identity(model))
    assert len(seen) == 1 + len(files)


@pytest.mark.parametrize("absent", [ModelName(name="nobody/nothing", revision="0" * 40), ModelName(name="nowhere")])
def test_a_model_that_is_absent_is_described_by_its_revision(absent, monkeypatch):
    monkeypatch.chdir(ROOT)
    values = read_params().model_dump(mode="json")
    values["benchmark"]["dino"] = absent.model_dump()
    assert describe_models(Params.model_validate(values))["benchmark.dino"]["identity"] == absent.revision


def test_every_model_of_the_parameters_is_described(monkeypatch):
    monkeypatch.chdir(ROOT)
    params: Params = read_params()
    described = describe_models(params)
    assert described["train.base"]["identity"] == identity(params.train.base)
    assert {"caption.model", "retrieve.clip", "segment.model", "train.vgg", "evaluate.judge"} <= described.keys()
    assert all(set(each) == {"name", "revision", "identity"} for each in described.values())
