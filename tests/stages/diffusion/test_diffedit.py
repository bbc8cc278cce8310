"""DiffEdit's mask beside diffusers' pipeline, and its edits outside the mask."""

from functools import partial

import pytest
import torch
from diffusers import DDIMInverseScheduler
from diffusers.pipelines.deprecated.stable_diffusion_diffedit import pipeline_stable_diffusion_diffedit as theirs

from stages.comparison.systems import diffusers_pipeline
from stages.diffusion.diffedit import contrast_mask, diffedit_latents
from stages.diffusion.inversion import invert_latents
from stages.diffusion.sampling import make_scheduler
from stages.diffusion.unet import predict_noise
from stages.models.latent_diffusion import load_diffusion
from tests.support import tiny

STEPS = 10


@pytest.fixture(scope="module")
def diffusion(tmp_path_factory):
    return load_diffusion(tiny.tiny_diffusion(tmp_path_factory.mktemp("models")))


def latents(seed: int, n: int = 1) -> torch.Tensor:
    return torch.randn(n, 4, 16, 16, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def mask_of(diffusion, noises, n: int = 1):
    prompt, reference = (diffusion.embed_prompts([text] * n) for text in ("a red dog", "a cat"))
    scheduler = make_scheduler("ddim", diffusion.scheduler)
    return contrast_mask(
        partial(predict_noise, diffusion, diffusion.unet), scheduler, latents(1, n), noises, prompt, reference, steps=STEPS
    )


def test_mask_is_that_of_diffusers(diffusion, monkeypatch):
    noises = [latents(10 + number) for number in range(3)]
    monkeypatch.setattr(theirs, "randn_tensor", lambda *_, **__: torch.cat(noises))
    pipeline = diffusers_pipeline(
        partial(theirs.StableDiffusionDiffEditPipeline, inverse_scheduler=DDIMInverseScheduler()), diffusion
    )
    texts = [diffusion.embed_prompts([text]).text for text in ("a red dog", "a cat", "")]
    expected = pipeline.generate_mask(
        image=latents(1),
        target_prompt_embeds=texts[0],
        source_prompt_embeds=texts[1],
        target_negative_prompt_embeds=texts[2],
        source_negative_prompt_embeds=texts[2],
        num_maps_per_mask=3,
        num_inference_steps=STEPS,
        output_type="np",
    )
    found = mask_of(diffusion, noises)
    assert 0 < found.mean() < 1
    torch.testing.assert_close(found[:, 0], torch.as_tensor(expected).float())


def test_a_mask_does_not_depend_on_its_company(diffusion):
    noises = [torch.cat([latents(10 + number), latents(20 + number)]) for number in range(3)]
    prompt, reference = (diffusion.embed_prompts([text]) for text in ("a red dog", "a cat"))
    alone = contrast_mask(
        partial(predict_noise, diffusion, diffusion.unet),
        make_scheduler("ddim", diffusion.scheduler),
        latents(1, 2)[1:],
        [noise[1:] for noise in noises],
        prompt,
        reference,
        steps=STEPS,
    )
    assert torch.equal(mask_of(diffusion, noises, n=2)[1:], alone)


@torch.no_grad()
def edited(diffusion, mask, guidance_scale: float = 3.0, prompt: str = "a red dog"):
    return diffedit_latents(
        partial(predict_noise, diffusion, diffusion.unet),
        make_scheduler("ddim", diffusion.scheduler),
        latents(1),
        mask,
        diffusion.embed_prompts([prompt]),
        diffusion.embed_prompts([""]),
        steps=STEPS,
        strength=0.6,
        guidance_scale=guidance_scale,
    )


def test_outside_the_mask_the_source_is_returned_exactly(diffusion):
    assert torch.equal(edited(diffusion, torch.zeros(1, 1, 16, 16)), latents(1))
    half = torch.zeros(1, 1, 16, 16)
    half[..., 8:] = 1
    found = edited(diffusion, half)
    assert torch.equal(found[..., :8], latents(1)[..., :8])
    assert (found - latents(1))[..., 8:].abs().mean() > 0.01


@torch.no_grad()
def test_a_full_mask_decodes_the_inverted_source(diffusion):
    scheduler = make_scheduler("ddim", diffusion.scheduler)
    predict = partial(predict_noise, diffusion, diffusion.unet)
    empty, prompt = diffusion.embed_prompts([""]), diffusion.embed_prompts(["a red dog"])
    timesteps, found = invert_latents(lambda z, t: predict(z, t, empty), scheduler, latents(1), steps=STEPS, strength=0.6)
    expected = found[0]
    for timestep in timesteps:
        one, other = predict(expected, timestep, empty), predict(expected, timestep, prompt)
        expected = scheduler.step(one + 3 * (other - one), timestep, expected).prev_sample
    torch.testing.assert_close(edited(diffusion, torch.ones(1, 1, 16, 16)), expected, atol=1e-5, rtol=1e-5)
