"""What comes from outside is data and never code: model folders, tables, shards and words, each as hostile as can be."""

import json
import pickle
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from stages.caption import caption
from stages.common.parquet import read_table
from stages.core.files import read_json
from stages.core.params import ModelName, Params
from stages.corpus.samples import CorpusSample, write_corpus
from stages.models import captioner, clip, hub, latent_diffusion, segmenter, vgg
from stages.models.hub import ModelError
from tests.support import ROOT, tiny
from tests.support.samples import ESCAPES, HOSTILE, picture

# Model folders.

LOADERS = {
    "captioner": (tiny.tiny_captioner, captioner.load_captioner),
    "clip": (tiny.tiny_clip, clip.load_clip),
    "segmenter": (tiny.tiny_segmenter, segmenter.load_segmenter),
    "vgg": (tiny.tiny_vgg, vgg.load_vgg),
    "diffusion": (tiny.tiny_diffusion, latent_diffusion.load_diffusion),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for kind, (make, _) in LOADERS.items():
        make(folder / kind)
    return folder


@pytest.fixture
def copies(whole, tmp_path) -> Path:
    hub.locate.cache_clear()  # it remembers folders by their names
    return Path(shutil.copytree(whole, tmp_path / "models"))


def load(kind: str, folder: Path) -> object:
    return LOADERS[kind][1](named(folder))


def named(folder: Path) -> ModelName:
    """A model as params.yaml names it, by a key of its own."""
    model = ModelName(name=str(folder))
    model._key = "train.base"
    return model


class Trap:
    """Pickled, it makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.mkdir, (self.marker,)


def files_of(kind: str) -> list[str]:
    """The files without which a model of this kind cannot be loaded rightly."""
    tokenizer = {"captioner": "", "clip": "", "segmenter": "", "vgg": None, "diffusion": "tokenizer/"}[kind]
    names = {
        "captioner": ["config.json", "model.safetensors", "processor_config.json"],
        "clip": ["open_clip_config.json", "open_clip_model.safetensors"],
        "segmenter": ["config.json", "model.safetensors", "processor_config.json"],
        "vgg": ["model.safetensors"],
        "diffusion": [
            "scheduler/scheduler_config.json",
            *(f"{part}/config.json" for part in ("text_encoder", "unet", "vae")),
            *(f"{part}/diffusion_pytorch_model.safetensors" for part in ("unet", "vae")),
            "text_encoder/model.safetensors",
        ],
    }[kind]
    return names + ([] if tokenizer is None else [f"{tokenizer}tokenizer.json"])


@pytest.mark.parametrize("kind", LOADERS)
def test_whole_folder_is_loaded(copies, kind):
    assert load(kind, copies / kind)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in LOADERS for name in files_of(kind)])
def test_incomplete_or_cut_folder_is_told_with_its_parameter(copies, kind, name):
    path = copies / kind / name
    data = path.read_bytes()
    for content in (None, b"", data[: len(data) // 2], b"[]", b"{}"):
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        if content == b"{}" and name.rpartition("/")[2] in ("config.json", "scheduler_config.json"):
            continue  # the libraries have a default for everything, and that of a network takes its time to make
        hub.locate.cache_clear()
        with pytest.raises(ModelError) as error:
            load(kind, copies / kind)
        assert str(error.value).startswith(f"train.base.name = '{copies / kind}': ")
        assert str(error.value).isprintable()


@pytest.mark.parametrize("kind", LOADERS)
def test_weights_that_are_missing_are_not_left_to_chance(copies, kind):
    for path in (copies / kind).rglob("*.safetensors"):
        weights = load_file(path)
        del weights[max(weights)]
        save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="incomplete or damaged"):
        load(kind, copies / kind)


def test_missing_folder_is_told_with_its_parameter():
    with pytest.raises(ModelError, match=r"^train\.base\.name = 'nowhere': neither a folder nor a hub id"):
        hub.locate(named(Path("nowhere")))


def test_hub_that_is_not_there_is_told_in_one_line(monkeypatch):
    def fail(*_: object, **__: object) -> str:
        raise OSError("no route\nto the host\x1b[2J")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    model = ModelName(name="owner/model", revision="abc")
    with pytest.raises(ModelError, match=r"^owner/model: no such folder, and the hub gives none: no route$"):
        hub.locate(model)


@pytest.mark.parametrize("kind", LOADERS)
def test_pickled_weights_are_never_read(copies, kind, tmp_path):
    marker = tmp_path / "unpickled"
    weights = list((copies / kind).rglob("*.safetensors"))
    for path in weights:
        for name in ("pytorch_model.bin", "open_clip_pytorch_model.bin", "diffusion_pytorch_model.bin", "model.pth"):
            path.with_name(name).write_bytes(pickle.dumps({"weight": Trap(marker)}))
    assert load(kind, copies / kind)  # beside the weights they do no harm
    hub.locate.cache_clear()
    weights[-1].unlink()
    with pytest.raises(ModelError, match=r"pickled weights \(.*\), which are never|incomplete"):
        load(kind, copies / kind)
    spare = copies / kind / "elsewhere" / "model.safetensors"  # so that there are some at all
    spare.parent.mkdir()
    save_file({"weight": torch.zeros(1)}, spare)
    hub.locate.cache_clear()
    with pytest.raises(ModelError, match="incomplete"):
        load(kind, copies / kind)
    assert not marker.exists()


EVIL = "import pathlib\npathlib.Path({marker!r}).mkdir()\nclass Evil: pass\n"


def asking_for_code(kind: str) -> list[tuple[str, dict]]:
    """Configurations by which the libraries would run a file of the folder: (file, what is added to it)."""
    remote = {"auto_map": dict.fromkeys(("AutoConfig", "AutoModel", "AutoTokenizer", "AutoProcessor"), "evil.Evil")}
    trusting = {"model_cfg": {"text_cfg": {"tokenizer_kwargs": {"trust_remote_code": True}}}}
    return {
        "captioner": [("config.json", remote), ("tokenizer_config.json", remote), ("processor_config.json", remote)],
        "clip": [("open_clip_config.json", trusting), ("tokenizer_config.json", remote)],
        "segmenter": [("config.json", remote), ("processor_config.json", remote)],
        "vgg": [],
        "diffusion": [("unet/config.json", remote), ("tokenizer/tokenizer_config.json", remote)],
    }[kind]


@pytest.mark.parametrize(("kind", "name", "added"), [(kind, *each) for kind in LOADERS for each in asking_for_code(kind)])
def test_folder_that_asks_for_code_to_be_run_is_refused(copies, kind, name, added, tmp_path):
    path, marker = copies / kind / name, tmp_path / "run"
    config = json.loads(path.read_text())
    if "model_cfg" in added:
        config["model_cfg"]["text_cfg"] |= added["model_cfg"]["text_cfg"]
    else:
        config |= added
    path.write_text(json.dumps(config).replace("auto_map", "auto\\u005fmap"))  # the same key to a reader of JSON
    for folder in {path.parent, copies / kind}:
        (folder / "evil.py").write_text(EVIL.format(marker=str(marker)))
    with pytest.raises(ModelError, match=rf"{re.escape(name)} asks for code to be run"):
        load(kind, copies / kind)
    assert not marker.exists()


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "scheduler", "tokenizer"])
def test_classes_are_ours_whatever_the_folder_names(copies, part, tmp_path, monkeypatch):
    folder, marker = copies / "diffusion", tmp_path / "run"
    index = json.loads((folder / "model_index.json").read_text())
    index[part] = ["evil", "Evil"]
    (folder / "model_index.json").write_text(json.dumps(index))
    for place in (folder, folder / part, tmp_path):
        (place / "evil.py").write_text(EVIL.format(marker=str(marker)))
    monkeypatch.syspath_prepend(tmp_path)  # as the working directory is on the path of `python -m`
    assert load("diffusion", folder)
    assert not marker.exists()


def test_captions_of_a_model_are_clean_lines(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts = [HOSTILE, ESCAPES, " "]
    monkeypatch.setattr("stages.models.captioner.Captioner.caption", lambda self, images, _: texts[: len(images)])
    Path("data/corpus").mkdir(parents=True)
    samples = [CorpusSample(key=f"{n:09d}", image=picture(size=32), alt_text=HOSTILE, metadata={}) for n in range(3)]
    write_corpus(Path("data/corpus/00000.tar"), samples)
    sidecar = {"fingerprint": "", "digest": "", "done": 3, "dropped": {}, "notes": []}
    Path("data/corpus/00000.done.json").write_text(json.dumps(sidecar))
    caption(params_with(caption={"model": {"name": str(whole / "captioner")}}))
    rows = read_table(Path("data/captions/00000.parquet"), {"key": "string", "caption": "string"})
    assert [row["key"] for row in rows] == ["000000000", "000000001"]
    assert all(row["caption"].isprintable() for row in rows)
    assert read_json(Path("logs/caption.json"))["dropped"] == {"empty caption": 1}


def params_with(**changes: dict) -> Params:
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, entries in changes.items():
        values[section] |= entries
    return Params.model_validate(values)


LONG = "a red dog on the beach " * 200


def test_prompts_beyond_the_context_are_cut_off(whole):
    clip, diffusion = load("clip", whole / "clip"), load("diffusion", whole / "diffusion")
    segmenter = load("segmenter", whole / "segmenter")
    segmenter.processor.tokenizer.model_max_length = diffusion.tokenizer.model_max_length = 10**30  # as where a file lacks it
    longer = LONG + "and a cat"
    assert clip.embed_texts([LONG]).equal(clip.embed_texts([longer]))
    assert diffusion.embed_prompts([LONG]).equal(diffusion.embed_prompts([longer]))
    found = [segmenter.probabilities([picture(size=32)], [text]) for text in (LONG, longer)]
    assert found[0].equal(found[1])


@pytest.mark.parametrize("text", ["海滩上的红色汽车", "красная машина", "🚗" * 50, HOSTILE, LONG, "a" * 10_000])
def test_any_words_can_be_embedded(whole, text):
    assert load("clip", whole / "clip").embed_texts([text]).isfinite().all()
    assert load("diffusion", whole / "diffusion").embed_prompts([text]).isfinite().all()
