"""Pretrained networks in half precision: rounded weights, fp32 outside, and results near those of single precision."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stages.comparison.systems import instructed_by
from stages.core.params import ModelName, Params, Sampling, named_models
from stages.diffusion.unet import predict_noise
from stages.editing.batch_editor import BatchEditor
from stages.models import hub
from stages.models.captioner import load_captioner
from stages.models.clip import load_clip
from stages.models.latent_diffusion import load_diffusion, load_picture_encoder, load_prompt_encoder
from stages.models.loading import TYPES
from stages.models.segmenter import load_segmenter
from stages.models.tensors import dtype_of
from stages.models.vgg import load_vgg
from stages.training.instruct_pix2pix import widen
from tests.support.checkpoints import change_config
from tests.support.composed import composed
from tests.support.training import edit_sample

HALVES = {"fp16": 1e-2, "bf16": 6e-2}  # how far numbers of about 1 may be from those of single precision
PROMPTS = ["a red dog", ""]
SAMPLING = Sampling(
    solver="ddim", steps=4, strength=0.75, guidance_scale=3.0, mask_threshold=0.5, mask_margin=0.0, mask_draft=False
)


def rounded(model: ModelName, precision) -> ModelName:
    return ModelName.in_folder(Path(model.name), precision)


def random(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def images(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(256, size=(32, 32, 3), dtype=np.uint8)) for _ in range(count)]


def clip_outputs(model):
    clip = load_clip(model)
    return clip.model, [clip.embed_pictures(random(2, 3, 40, 40)), clip.embed_images(images(2)), clip.embed_texts(PROMPTS)]


def segmenter_outputs(model):
    segmenter = load_segmenter(model)
    return segmenter.model, [segmenter.probabilities(images(2), ["dog", "cat"])]


def vgg_outputs(model):
    vgg = load_vgg(model)
    return vgg, [each.float() for each in vgg(random(2, 3, 32, 32), [3, 8])]


def diffusion_outputs(model):
    diffusion = load_diffusion(model)
    with torch.no_grad():
        latents, prompts = diffusion.encode(random(2, 3, 32, 32)), diffusion.embed_prompts(PROMPTS)
        noise = predict_noise(diffusion, diffusion.unet, random(2, 4, 16, 16), torch.tensor(500), prompts)
        pictures = diffusion.decode(random(2, 4, 16, 16))
    return diffusion.unet, [latents, noise, pictures, *prompts.columns().values()]


OF_AUTOENCODER = (0, 2)  # latents and pictures; that of Stable Diffusion XL stays in fp32, as it would overflow
OUTPUTS = {
    "clip": clip_outputs,
    "segmenter": segmenter_outputs,
    "vgg": vgg_outputs,
    "diffusion": diffusion_outputs,
    "diffusion_xl": diffusion_outputs,
}


@pytest.mark.parametrize("precision", HALVES)
@pytest.mark.parametrize("name", OUTPUTS)
def test_half_precision_changes_outputs_by_rounding_alone(models, name, precision):
    model = getattr(models, name)
    network, found = OUTPUTS[name](rounded(model, precision))
    whole, wanted = OUTPUTS[name](model)
    assert dtype_of(network) is TYPES[precision]
    for key, weights in network.state_dict().items():
        expected = whole.state_dict()[key]
        assert torch.equal(weights, expected.to(TYPES[precision]) if expected.is_floating_point() else expected), key
    for place, (one, other) in enumerate(zip(found, wanted, strict=True)):
        assert one.dtype is other.dtype is torch.float32
        assert torch.equal(one, other) is (name == "diffusion_xl" and place in OF_AUTOENCODER)
        assert (one - other).abs().max() <= HALVES[precision] * other.abs().max().clamp(min=1)


@pytest.mark.parametrize("precision", HALVES)
def test_captioner_works_in_half_precision(models, precision):
    captioner = load_captioner(rounded(models.captioner, precision))
    assert dtype_of(captioner.model) is TYPES[precision]
    assert len(captioner.caption(images(2), 5)) == 2


@pytest.mark.parametrize("precision", HALVES)
@pytest.mark.parametrize("name", ["diffusion", "diffusion_xl"])
def test_edits_in_half_precision_are_near_those_in_single(models, name, precision):
    model = getattr(models, name)
    how = {"masks": None, "sampling": SAMPLING, "seed": 1, "keys": ["a", "b"]}
    found, wanted = (
        BatchEditor(load_diffusion(each)).edit_batch(random(2, 3, 32, 32), PROMPTS, **how)
        for each in (rounded(model, precision), model)
    )
    assert found.dtype is torch.float32
    assert 0 < (found - wanted).abs().mean() < HALVES[precision]


@pytest.mark.parametrize("precision", HALVES)
@pytest.mark.parametrize("name", ["diffusion", "diffusion_xl"])
def test_instruct_pix2pix_edits_in_half_precision(models, tmp_path, name, precision):
    folder = shutil.copytree(getattr(models, name).name, tmp_path / "instructed")
    widen(load_diffusion(getattr(models, name)).unet).save_pretrained(folder / "unet")
    found, wanted = (
        instructed_by(load_diffusion(each, pictures=2), "", SAMPLING, 1.4).edit([edit_sample(0)], None, 7).pictures
        for each in (ModelName.in_folder(folder, precision), ModelName(name=str(folder)))
    )
    assert found.dtype is torch.float32
    assert 0 < (found - wanted).abs().mean() < HALVES[precision]


@pytest.mark.parametrize(("upcast", "expected"), [(True, torch.float32), (False, torch.float16)])
def test_an_autoencoder_that_overflows_stays_in_single_precision(models, tmp_path, upcast, expected):
    hub.locate.cache_clear()
    folder = shutil.copytree(models.diffusion_xl.name, tmp_path / "checkpoint")
    change_config(folder, "vae/config.json", force_upcast=upcast)
    model = ModelName.in_folder(folder, "fp16")
    diffusion = load_diffusion(model)
    assert diffusion.vae.dtype is load_picture_encoder(model).vae.dtype is expected
    assert diffusion.unet.dtype is torch.float16
    assert load_prompt_encoder(model).components["text_encoder_2"].dtype is torch.float16


def test_what_trains_and_what_gives_scores_stays_in_single_precision():
    values = composed("preset=paper", "source=folder")
    found = {model.key: model.precision for model in named_models(Params.model_validate(values | {"precision": "fp16"}))}
    exact = {"evaluate.judge", "evaluate.vgg", "evaluate.referee", "benchmark.structure", "benchmark.dino"}
    assert {key for key, each in found.items() if each == "fp32"} == exact | {"train.base", "train.clip", "train.vgg"}
    assert set(found.values()) == {"fp32", "fp16"}


def test_rounded_weights_are_other_weights(models):
    names = {hub.identity(rounded(models.clip, precision)) for precision in TYPES}
    assert len(names) == 3
    assert hub.identity(models.clip) in names
