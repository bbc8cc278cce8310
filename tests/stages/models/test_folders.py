"""Model folders are untrusted: incomplete, pickled or code-carrying ones are refused in one line that names them."""

import json
import pickle
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.core.params import ModelName
from stages.models import captioner, clip, hub, latent_diffusion, segmenter, vgg
from stages.models.hub import ModelError

LOADERS = {
    "captioner": captioner.load_captioner,
    "clip": clip.load_clip,
    "segmenter": segmenter.load_segmenter,
    "vgg": vgg.load_vgg,
    "diffusion": latent_diffusion.load_diffusion,
}


@pytest.fixture
def folder(kind, models, tmp_path) -> Path:
    """A copy of the tiny model of ``kind``, to be damaged."""
    hub.locate.cache_clear()  # it caches folders by name
    return Path(shutil.copytree(getattr(models, kind).name, tmp_path / "models" / kind))


def load(kind: str, folder: Path) -> object:
    return LOADERS[kind](named(folder))


def named(folder: Path) -> ModelName:
    """Return a model as params.yaml would name it under train.base."""
    model = ModelName(name=str(folder))
    model._key = "train.base"
    return model


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.mkdir, (self.marker,)


def files_of(kind: str) -> list[str]:
    """Return the files that a model of ``kind`` needs."""
    tokenizer = {"captioner": "", "clip": "", "segmenter": "", "vgg": None, "diffusion": "tokenizer/"}[kind]
    names = {
        "captioner": ["config.json", "model.safetensors", "processor_config.json"],
        "clip": ["open_clip_config.json", "open_clip_model.safetensors"],
        "segmenter": ["config.json", "model.safetensors", "processor_config.json"],
        "vgg": ["model.safetensors"],
        "diffusion": [
            "model_index.json",
            "scheduler/scheduler_config.json",
            *(f"{part}/config.json" for part in ("text_encoder", "unet", "vae")),
            *(f"{part}/diffusion_pytorch_model.safetensors" for part in ("unet", "vae")),
            "text_encoder/model.safetensors",
        ],
    }[kind]
    return names + ([] if tokenizer is None else [f"{tokenizer}tokenizer.json"])


@pytest.mark.parametrize("kind", LOADERS)
def test_whole_folder_is_loaded(folder, kind):
    assert load(kind, folder)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in LOADERS for name in files_of(kind)])
def test_incomplete_or_truncated_folder_is_refused(folder, kind, name):
    path = folder / name
    data = path.read_bytes()
    for content in (None, b"", data[: len(data) // 2], b"[]", b"{}"):
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        if content == b"{}" and name.rpartition("/")[2] == "config.json" and name != "unet/config.json":
            continue  # the libraries default every setting, and building the default network takes long
        hub.locate.cache_clear()
        with pytest.raises(ModelError) as error:
            load(kind, folder)
        assert str(error.value).startswith(f"train.base.name = '{folder}': ")
        assert str(error.value).isprintable()


@pytest.mark.parametrize("kind", LOADERS)
def test_missing_weights_are_not_left_random(folder, kind):
    for path in folder.rglob("*.safetensors"):
        weights = load_file(path)
        del weights[max(weights)]
        save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="incomplete or damaged"):
        load(kind, folder)


def test_missing_folder_is_an_error_with_its_parameter():
    with pytest.raises(ModelError, match=r"^train\.base\.name = 'nowhere': neither a folder nor a hub id"):
        hub.locate(named(Path("nowhere")))


def test_a_single_file_is_an_error_with_advice(tmp_path):
    path = tmp_path / "model.safetensors"
    path.touch()
    with pytest.raises(ModelError, match=r"is a file; convert it to a folder with a model index, as docs/models\.md shows$"):
        hub.locate(named(path))


@pytest.mark.parametrize("kind", LOADERS)
def test_pickled_weights_are_never_read(folder, kind, tmp_path):
    marker = tmp_path / "unpickled"
    weights = list(folder.rglob("*.safetensors"))
    for path in weights:
        for name in ("pytorch_model.bin", "open_clip_pytorch_model.bin", "diffusion_pytorch_model.bin", "model.pth"):
            path.with_name(name).write_bytes(pickle.dumps({"weight": Trap(marker)}))
    assert load(kind, folder)  # next to safetensors they are ignored
    hub.locate.cache_clear()
    weights[-1].unlink()
    with pytest.raises(ModelError, match=r"pickled weights \(.*\), which are never|incomplete"):
        load(kind, folder)
    spare = folder / "elsewhere" / "model.safetensors"  # the folder holds safetensors, but not the model's
    spare.parent.mkdir()
    save_file({"weight": torch.zeros(1)}, spare)
    hub.locate.cache_clear()
    with pytest.raises(ModelError, match="incomplete"):
        load(kind, folder)
    assert not marker.exists()


EVIL = "import pathlib\npathlib.Path({marker!r}).mkdir()\nclass Evil: pass\n"


def configs_with_code(kind: str) -> list[tuple[str, dict]]:
    """Return (file, addition) pairs that would make the libraries run a file of the folder."""
    remote = {"auto_map": dict.fromkeys(("AutoConfig", "AutoModel", "AutoTokenizer", "AutoProcessor"), "evil.Evil")}
    trusting = {"model_cfg": {"text_cfg": {"tokenizer_kwargs": {"trust_remote_code": True}}}}
    return {
        "captioner": [("config.json", remote), ("tokenizer_config.json", remote), ("processor_config.json", remote)],
        "clip": [("open_clip_config.json", trusting), ("tokenizer_config.json", remote)],
        "segmenter": [("config.json", remote), ("processor_config.json", remote)],
        "vgg": [],
        "diffusion": [("unet/config.json", remote), ("tokenizer/tokenizer_config.json", remote)],
    }[kind]


@pytest.mark.parametrize(("kind", "name", "added"), [(kind, *each) for kind in LOADERS for each in configs_with_code(kind)])
def test_folder_that_asks_to_run_code_is_refused(folder, kind, name, added, tmp_path):
    path, marker = folder / name, tmp_path / "run"
    config = json.loads(path.read_text())
    if "model_cfg" in added:
        config["model_cfg"]["text_cfg"] |= added["model_cfg"]["text_cfg"]
    else:
        config |= added
    path.write_text(json.dumps(config).replace("auto_map", "auto\\u005fmap"))  # the same key to a JSON parser
    for place in {path.parent, folder}:
        (place / "evil.py").write_text(EVIL.format(marker=str(marker)))
    with pytest.raises(ModelError, match=rf"{re.escape(name)} asks for code to be run"):
        load(kind, folder)
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["diffusion"])
@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "scheduler", "tokenizer"])
def test_classes_named_by_the_folder_are_ignored(folder, kind, part, tmp_path, monkeypatch):
    marker = tmp_path / "run"
    index = json.loads((folder / "model_index.json").read_text())
    index[part] = ["evil", "Evil"]
    (folder / "model_index.json").write_text(json.dumps(index))
    for place in (folder, folder / part, tmp_path):
        (place / "evil.py").write_text(EVIL.format(marker=str(marker)))
    monkeypatch.syspath_prepend(tmp_path)  # `python -m` has the working directory on its path too
    assert load(kind, folder)
    assert not marker.exists()
