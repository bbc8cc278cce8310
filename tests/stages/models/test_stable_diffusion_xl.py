"""Stable Diffusion XL against diffusers' own pipelines."""

import shutil

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline

from stages.core.params import ModelName
from stages.diffusion.unet import predict_noise
from stages.models import hub
from stages.models.conditioning import Conditioning
from stages.models.families import family_of
from stages.models.hub import ModelError
from stages.models.latent_diffusion import Diffusion, load_diffusion
from tests.support.checkpoints import change_config
from tests.support.img2img import assert_edits_as

PROMPTS = ["a red dog", "a cat on the beach and " + 20 * "very " + "long"]


@pytest.fixture(scope="module")
def diffusion(models) -> Diffusion:
    return load_diffusion(models.diffusion_xl)


def latents(seed: int) -> torch.Tensor:
    return torch.randn(2, 4, 16, 20, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("zeros", [True, False])
def test_prompts_are_those_of_the_pipeline(models, tmp_path, zeros):
    hub.locate.cache_clear()
    folder = shutil.copytree(models.diffusion_xl.name, tmp_path / "checkpoint")
    change_config(folder, "model_index.json", force_zeros_for_empty_prompt=zeros)
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder)
    text, without, pooled, pooled_without = pipeline.encode_prompt(PROMPTS)  # no negative prompt
    diffusion = load_diffusion(ModelName(name=str(folder)))
    found, empty = diffusion.embed_prompts(PROMPTS), diffusion.embed_prompts(["", "a"])[[0, 0]]
    for one, other in ((found, (text, pooled)), (empty, (without, pooled_without))):
        torch.testing.assert_close(one.text, other[0])
        torch.testing.assert_close(one.pooled, other[1])
    assert (not empty.text.any()) is zeros
    assert diffusion.prompts.shapes == {"text": found.text.shape[1:], "pooled": found.pooled.shape[1:]}


@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_edit_equals_the_img2img_pipeline(models, diffusion, strength, guidance_scale):
    pipeline = StableDiffusionXLImg2ImgPipeline.from_pretrained(models.diffusion_xl.name, add_watermarker=False)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False, set_alpha_to_one=False)
    pipeline.set_progress_bar_config(disable=True)
    assert_edits_as(pipeline, diffusion, PROMPTS, latents(1).shape, strength, guidance_scale)


def test_pooled_prompt_and_size_matter(diffusion):
    prompts = diffusion.embed_prompts(PROMPTS)
    others = Conditioning(prompts.text, prompts.pooled.flip(0))
    with torch.no_grad():
        predicted, with_others = (
            predict_noise(diffusion, diffusion.unet, latents(1), torch.tensor(500), each) for each in (prompts, others)
        )
        sized = diffusion.unet(latents(1), 500, prompts.text, **prompts.added(64, 32)).sample
    assert (predicted - with_others).abs().mean() > 1e-3
    assert (predicted - sized).abs().mean() > 1e-3


def test_pictures_are_decoded_in_full_precision(models, diffusion):
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        within, other = diffusion.decode(latents(1)), load_diffusion(models.diffusion).decode(latents(1))
    with torch.no_grad():
        assert torch.equal(within, diffusion.decode(latents(1)))
    decoded = 2 * other - 1  # of a family that does not need it: fp32, with the digits of bf16
    assert torch.equal(decoded, decoded.bfloat16().float())


@pytest.mark.parametrize(
    ("name", "changes", "what"),
    [
        ("model_index.json", {"text_encoder": [None, None]}, "is a StableDiffusionXLPipeline without text_encoder"),
        ("unet/config.json", {"projection_class_embeddings_input_dim": 52}, r"reads 52 numbers .*, not 12 \+ 48"),
        ("unet/config.json", {"addition_embed_type": None}, "addition_embed_type = None"),
        ("unet/config.json", {"cross_attention_dim": 16}, "text embeddings of 16 numbers, and 40 of them"),
    ],
    ids=["refiner", "refiner's sizes", "nothing added", "one text encoder"],
)
def test_what_only_looks_like_it_is_refused(models, tmp_path, name, changes, what):
    folder = shutil.copytree(models.diffusion_xl.name, tmp_path / "checkpoint")
    change_config(folder, name, **changes)
    with pytest.raises(ModelError, match=what):
        family_of(ModelName(name=str(folder)), folder)
