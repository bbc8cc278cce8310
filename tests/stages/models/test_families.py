"""What a checkpoint is, by its configurations: other families are refused in one line, before anything is loaded."""

import os
import re
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml

from stages.__main__ import stage_named
from stages.core.params import ModelName, Params
from stages.models import hub
from stages.models.families import check_bases, family_of
from stages.models.hub import ModelError
from stages.models.latent_diffusion import load_diffusion
from tests.support import ROOT
from tests.support.checkpoints import PNDM, change_config, put_scheduler

INPAINTING = "StableDiffusionInpaintPipeline"
OTHERS = {
    "SD 3": ("model_index.json", {"_class_name": "StableDiffusion3Pipeline"}, "is a StableDiffusion3Pipeline"),
    "FLUX": ("model_index.json", {"_class_name": "FluxPipeline"}, "is a FluxPipeline"),
    "inpainting": ("model_index.json", {"_class_name": INPAINTING}, f"is a {INPAINTING}"),
    "no class": ("model_index.json", {"_class_name": None}, "is a None"),
    "two lines": ("model_index.json", {"_class_name": "Flux\n\x1b[2J"}, "is a Flux; supported are "),
    "no text encoder": ("model_index.json", {"text_encoder": [None, None]}, "without text_encoder"),
    "another U-Net": ("unet/config.json", {"_class_name": "UNet3DConditionModel"}, "has a UNet3DConditionModel for a U-Net"),
    "9 channels": ("unet/config.json", {"in_channels": 9}, "9 input channels (an inpainting model), not 4"),
    "8 channels": ("unet/config.json", {"in_channels": 8}, "8 input channels (as InstructPix2Pix), not 4"),
    "other latents": ("vae/config.json", {"latent_channels": 16}, "4 input channels, not 16"),
    "wide texts": ("unet/config.json", {"cross_attention_dim": 768}, "text embeddings of 768 numbers, and 16 of them"),
    "wide texts in a block": ("unet/config.json", {"cross_attention_dim": [16, 768]}, "of [16, 768] numbers"),
    "no middle block": ("unet/config.json", {"mid_block_type": None}, "has a U-Net without a middle block"),
    "no size": ("unet/config.json", {"sample_size": None}, "sample_size = None, not one whole number"),
    "two sizes": ("unet/config.json", {"sample_size": [16, 16]}, "sample_size = [16, 16], not one whole number"),
    "shifted latents": ("vae/config.json", {"shift_factor": 0.1159}, "has an autoencoder with shift_factor = 0.1159"),
    "means of latents": ("vae/config.json", {"latents_mean": [0.1]}, "has an autoencoder with latents_mean = [0.1]"),
    "spread of latents": ("vae/config.json", {"latents_std": [1, 2]}, "has an autoencoder with latents_std = [1, 2]"),
    "no scale of latents": ("vae/config.json", {"scaling_factor": None}, "scaling_factor = None, no number"),
    "latents scaled to nothing": ("vae/config.json", {"scaling_factor": 0}, "scaling_factor = 0, no number above 0"),
    "another autoencoder": (
        "vae/config.json",
        {"_class_name": "AutoencoderKLWan"},
        "has a AutoencoderKLWan for an autoencoder",
    ),
    "pictures as prompts": ("unet/config.json", {"addition_embed_type": "image"}, "addition_embed_type = 'image'"),
    "classes": ("unet/config.json", {"class_embed_type": "timestep"}, "class_embed_type = 'timestep'"),
    "guidance as input": ("unet/config.json", {"time_cond_proj_dim": 256}, "time_cond_proj_dim = 256"),
    "sample": ("scheduler/scheduler_config.json", {"prediction_type": "sample"}, "predicts 'sample'"),
    "flow": ("scheduler/scheduler_config.json", {"prediction_type": "flow_prediction"}, "predicts 'flow_prediction'"),
    "few betas": ("scheduler/scheduler_config.json", {"trained_betas": [0.1, 0.2]}, "trained_betas are [0.1, 0.2]"),
    "unknown schedule": ("scheduler/scheduler_config.json", {"beta_schedule": "sigmoid"}, "with beta_schedule = 'sigmoid'"),
    "no timesteps": ("scheduler/scheduler_config.json", {"num_train_timesteps": 0}, "num_train_timesteps = 0, allowed is 1 to"),
    "text for a beta": ("scheduler/scheduler_config.json", {"beta_start": "x"}, "beta_start = 'x', allowed is above 0"),
    "large beta": ("scheduler/scheduler_config.json", {"beta_end": 5}, "beta_end = 5, allowed is above 0 and below 1"),
    "zero SNR": ("scheduler/scheduler_config.json", {"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr"),
}
DAMAGED = {
    "list": ("unet/config.json", b"[]", "unet/config.json is damaged: no JSON object"),
    "cut off": ("vae/config.json", b'{"latent', "vae/config.json is damaged: "),
    "text for a number": (
        "unet/config.json",
        b'{"_class_name": "UNet2DConditionModel", "in_channels": "4"}',
        "in_channels = '4'",
    ),
    "no noise schedule": ("scheduler/scheduler_config.json", b"{}", "without beta_schedule"),
}


@pytest.fixture
def folder(models, tmp_path) -> Path:
    """A copy of the tiny checkpoint, to be changed."""
    hub.locate.cache_clear()  # it caches folders by name
    return Path(shutil.copytree(models.diffusion.name, tmp_path / "checkpoint"))


def params_naming(folder: Path, key: str = "train") -> Params:
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section in ("train", "evaluate"):
        values[section]["base"] = {"name": str(ROOT / "nano/models/diffusion")}
    values[key]["base"] = {"name": str(folder)}
    return Params.model_validate(values)


@pytest.mark.parametrize(("name", "changes", "what"), OTHERS.values(), ids=OTHERS)
def test_other_families_are_refused_in_one_line(folder, name, changes, what):
    change_config(folder, name, **changes)
    for path in folder.rglob("*.safetensors"):
        path.write_bytes(b"")  # nothing is loaded
    for refuse in (lambda: check_bases(params_naming(folder)), lambda: load_diffusion(ModelName(name=str(folder)))):
        with pytest.raises(ModelError, match=re.escape(what)) as error:
            refuse()
        supported = (
            "Stable Diffusion 1.x and 2.x (StableDiffusionPipeline) and Stable Diffusion XL base (StableDiffusionXLPipeline)"
        )
        assert str(error.value).endswith(f"supported are {supported}")
        assert str(folder) in str(error.value)
        assert str(error.value).isprintable()


@pytest.mark.parametrize(("name", "content", "what"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_configurations_are_refused_in_one_line(folder, name, content, what):
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=re.escape(what)):
        family_of(ModelName(name=str(folder)), folder)


@pytest.mark.parametrize("key", ["train", "evaluate"])
@pytest.mark.parametrize("stage", ["ingest", "mutate", "evaluate"])
def test_every_stage_refuses_before_it_works(folder, tmp_path, monkeypatch, stage, key):
    change_config(folder, "model_index.json", _class_name="FluxPipeline")
    monkeypatch.setattr("stages.__main__.on_interrupt", lambda _: None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=rf"^{key}\.base\.name = '.*checkpoint': is a FluxPipeline; supported are "):
        stage_named(stage)(params_naming(folder, key))
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint"}


@pytest.mark.parametrize("is_here", [True, False])
def test_models_of_the_hub_are_checked_where_they_are_fetched(folder, monkeypatch, is_here):
    change_config(folder, "model_index.json", _class_name="FluxPipeline")

    def snapshot(model: ModelName) -> Path:
        if not is_here:
            raise ModelError(model, "is not on this machine")
        return folder

    monkeypatch.setattr(hub, "_snapshot", snapshot)
    values = params_naming(folder).model_dump(mode="json")
    values["train"]["base"] = {"name": "owner/model", "revision": "a" * 40}
    with (
        pytest.raises(ModelError, match=r"^train\.base\.name = 'owner/model': is a FluxPipeline") if is_here else nullcontext()
    ):
        check_bases(Params.model_validate(values))


def test_instructed_models_take_two_pictures(folder):
    change_config(folder, "unet/config.json", in_channels=8)
    model = ModelName(name=str(folder))
    assert family_of(model, folder, pictures=2).text_encoders == ("text_encoder",)
    change_config(folder, "unet/config.json", in_channels=4)
    with pytest.raises(ModelError, match="4 input channels, not 8"):
        family_of(model, folder, pictures=2)


def test_a_released_model_that_takes_one_picture_is_refused(folder):
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["evaluate"]["systems"]["instruct_pix2pix"]["model"] = {"name": str(folder), "revision": None}
    with pytest.raises(ModelError, match=r"^evaluate\.systems\.instruct_pix2pix\.model\.name = .*4 input channels, not 8"):
        check_bases(Params.model_validate(values))
    change_config(folder, "unet/config.json", in_channels=8)
    check_bases(Params.model_validate(values))


def test_pickled_weights_are_refused_before_any_work(folder):
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(ModelError, match=r"no unet/diffusion_pytorch_model\.safetensors, only .*diffusion_pytorch_model\.bin"):
        check_bases(params_naming(folder))


def test_weights_cut_short_are_refused_before_any_work(folder):
    os.truncate(folder / "vae/diffusion_pytorch_model.safetensors", 1000)
    with pytest.raises(ModelError, match=r"vae/diffusion_pytorch_model\.safetensors is damaged: "):
        check_bases(params_naming(folder))


def test_a_file_is_refused_before_any_work(folder):
    with pytest.raises(ModelError, match=r"model_index\.json': is a file; convert it to a folder"):
        check_bases(params_naming(folder / "model_index.json"))


def test_an_older_scheduler_file_predicts_noise(folder):
    put_scheduler(folder, PNDM)
    assert not load_diffusion(ModelName(name=str(folder))).predicts_velocity
