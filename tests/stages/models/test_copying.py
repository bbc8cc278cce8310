"""Copies of a diffusers folder hold what is read, in full or in half precision, and diffusers opens them."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from stages.core.errors import InputError
from stages.core.files import read_json, write_json
from stages.core.params import ModelName
from stages.models.copying import copy_model, halve
from stages.models.hub import locate
from stages.models.latent_diffusion import load_diffusion, load_unet
from stages.training.model_folder import save_unet
from tests.support import ROOT
from tests.support.checkpoints import halve as in_half
from tests.support.checkpoints import split_half
from tests.support.hub import digest, names

CHECKER = {
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "requires_safety_checker": True,
}
UNREAD = (
    *("safety_checker/config.json", "safety_checker/model.safetensors", "feature_extractor/preprocessor_config.json"),
    *(
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/diffusion_pytorch_model.bin",
        "v1-5-pruned.safetensors",
        "README.md",
    ),
)


@pytest.fixture
def base(models, tmp_path) -> Path:
    """A checkpoint as the hub has it, with a safety checker and twins of its weights."""
    folder = Path(shutil.copytree(models.diffusion.name, tmp_path / "base"))
    for name in UNREAD:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"{}")
    write_json(folder / "model_index.json", read_json(folder / "model_index.json") | CHECKER)
    return folder


@pytest.mark.parametrize("says", [True, None])  # Stable Diffusion 1.5 does not say whether it needs its checker
def test_a_copy_holds_what_is_read_without_a_checker(base, tmp_path, says):
    index = read_json(base / "model_index.json") | {"requires_safety_checker": says}
    write_json(base / "model_index.json", {key: value for key, value in index.items() if value is not None})
    copy_model(base, tmp_path / "copy")
    assert set(names(base)) - set(names(tmp_path / "copy")) == set(UNREAD)
    changed = [name for name in names(tmp_path / "copy") if digest(base / name) != digest(tmp_path / "copy" / name)]
    assert changed == ["model_index.json"]
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "copy")
    assert pipeline.safety_checker is None
    assert not pipeline.config.requires_safety_checker


@pytest.mark.parametrize("is_split", [False, True])
@pytest.mark.parametrize("family", ["diffusion", "diffusion_xl"])
def test_diffusers_opens_a_copy_of_half_precision_alone(models, tmp_path, family, is_split):
    base = Path(shutil.copytree(getattr(models, family).name, tmp_path / "base"))
    unet = load_unet(base)
    in_half(base, keep=False)
    if is_split:
        split_half(base / "vae/diffusion_pytorch_model")
    copy_model(base, tmp_path / "copy", without="unet")
    save_unet(unet, base, tmp_path / "copy")
    copy_model(tmp_path / "copy", tmp_path / "exported")
    for folder in (tmp_path / "copy", tmp_path / "exported"):
        pipeline = DiffusionPipeline.from_pretrained(folder, use_safetensors=True)
        for name, weights in load_unet(base).state_dict().items():
            torch.testing.assert_close(pipeline.unet.state_dict()[name], weights, rtol=1e-3, atol=1e-3)


def test_a_damaged_folder_is_named(base, tmp_path):
    (base / "vae/diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(InputError, match=r"/base: no vae/diffusion_pytorch_model\.safetensors, only vae/\S+\.bin$"):
        copy_model(base, tmp_path / "copy")


def test_a_folder_without_a_checker_is_copied_byte_for_byte(tmp_path):
    nano = ROOT / "nano/models/diffusion"
    copy_model(nano, tmp_path / "copy", without="unet")
    kept = [name for name in names(nano) if not name.startswith("unet/")]
    assert {name: digest(tmp_path / "copy" / name) for name in names(tmp_path / "copy")} == {
        name: digest(nano / name) for name in kept
    }


def test_half_precision_rounds_every_weight_and_halves_the_files(base, tmp_path):
    copy_model(base, tmp_path / "half")
    full = {name: load_file(tmp_path / "half" / name) for name in names(tmp_path / "half") if name.endswith(".safetensors")}
    halve(tmp_path / "half")
    for name, weights in full.items():
        halved = load_file(tmp_path / "half" / name)
        floats = {key for key, value in weights.items() if value.dtype == torch.float32}
        assert all(torch.equal(halved[key], weights[key].half()) for key in floats)
        assert all(torch.equal(halved[key], weights[key]) for key in weights.keys() - floats)
        with (tmp_path / "half" / name).open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        assert header["__metadata__"]["format"] == "pt"
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "half", torch_dtype=torch.float16)
    assert pipeline.unet.dtype == torch.float16
    locate.cache_clear()
    assert load_diffusion(ModelName(name=str(tmp_path / "half"))).unet.dtype == torch.float32
