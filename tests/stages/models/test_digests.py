"""The digests of models that DVC compares; tests/stages/test_dvc_file.py has DVC compare them."""

import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest

from stages.core.files import file_digest, read_json
from stages.core.params import ModelName, Params, named_models
from stages.core.params_file import read_params
from stages.core.paths import EVALUATION, HELD_OUT
from stages.models.digests import OPTIONAL, models
from stages.models.hub import ModelError, locate
from tests.support import ROOT


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch) -> Path:
    """The current folder, with params.yaml and the models that it names."""
    locate.cache_clear()
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "nano/models", tmp_path / "nano/models")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_model_has_a_file_of_its_digests():
    params = read_params()
    models(params)
    named = {model.key for model in named_models(params)}
    assert {path.stem for path in Path("data/models").iterdir()} == {*named, *OPTIONAL}
    assert not named & {*OPTIONAL}
    assert all(read_json(Path(f"data/models/{key}.json")) == {} for key in OPTIONAL)
    name = "open_clip_model.safetensors"
    assert read_json(Path("data/models/train.clip.json"))[name] == file_digest(Path("nano/models/clip") / name)


def test_a_model_of_the_hub_has_to_be_pinned():
    local, hub = "name: nano/models/vgg\n    revision: null", "name: a/vgg\n    revision: main"
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace(local, hub))
    with pytest.raises(ModelError, match=r"^train\.vgg\.name = 'a/vgg': revision 'main' is no commit"):
        models(read_params())


@pytest.mark.parametrize("use", ["blip", "given"])
def test_models_that_no_stage_loads_may_be_absent(use):
    shutil.rmtree("nano/models/captioner")
    params = read_params()
    absent = params.benchmark.model_copy(update={"dino": ModelName(name="owner/dino", revision="a" * 40)})
    caption = params.caption.model_copy(update={"use": use})
    changed = Params.model_validate(params.model_copy(update={"benchmark": absent, "caption": caption}).model_dump(mode="json"))
    with nullcontext() if use == "given" else pytest.raises(ModelError, match=r"^caption\.model\.name = "):
        models(changed)
        assert read_json(Path("data/models/benchmark.dino.json")) == {"owner/dino": "a" * 40}
        assert read_json(Path("data/models/caption.model.json")) == {"nano/models/captioner": "absent"}


@pytest.mark.parametrize("cases", [HELD_OUT, EVALUATION])
def test_a_referee_is_refused_before_anything_is_trained(cases):
    params = read_params()
    copied = shutil.copytree(params.segment.model.name, "copied")
    changes = {"cases": str(cases), "referee": ModelName(name=str(copied))}
    values = params.model_copy(update={"evaluate": params.evaluate.model_copy(update=changes)}).model_dump(mode="json")
    values["retrieve"]["held_out"] = 0.1
    refused = pytest.raises(ModelError, match=r"^evaluate\.referee\.name = 'copied': has the weights of evaluate\.segmenter = ")
    with refused if cases == HELD_OUT else nullcontext():
        models(Params.model_validate(values))
