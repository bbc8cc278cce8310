"""Masked and plain sampling, against diffusers' own pipelines and Eq 13 step by step."""

from typing import get_args

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from stages.comparison.systems import diffusers_pipeline
from stages.core.params import Solver
from stages.diffusion.sampling import draw_noise, edit_latents, make_scheduler
from stages.models.conditioning import Conditioning
from stages.models.latent_diffusion import Diffusion, load_diffusion
from tests.support import tiny
from tests.support.checkpoints import change_config
from tests.support.strategies import as_tensor, masks, quick

PROMPTS = ["a red dog", "a cat on the beach"]
STEPS = 10


@pytest.fixture(scope="module")
def diffusion(tmp_path_factory) -> Diffusion:
    return load_diffusion(tiny.tiny_diffusion(tmp_path_factory.mktemp("models")))


def latents(seed: int) -> Tensor:
    return torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def sample(
    diffusion: Diffusion, *, solver="ddim", strength=0.6, guidance_scale=4.0, mask=None, steps=STEPS, from_noise=False
) -> Tensor:
    """An edit of ``latents(1)`` with noise ``latents(2)``."""
    return edit_latents(
        lambda noisy, timestep, prompts: diffusion.unet(noisy, timestep, prompts.text).sample,
        make_scheduler(solver, diffusion.scheduler),
        latents(1),
        latents(2),
        diffusion.embed_prompts(PROMPTS),
        diffusion.embed_prompts([""]),
        steps=steps,
        strength=strength,
        guidance_scale=guidance_scale,
        mask=mask,
        from_noise=from_noise,
    )


def pipeline_of(kind, diffusion: Diffusion, solver: str):
    """A pipeline with the solver as diffusers makes it of the model's own scheduler."""
    pipeline = diffusers_pipeline(kind, diffusion)
    if solver == "dpmsolver++":
        model = pipeline.scheduler.config
        pipeline.scheduler = DPMSolverMultistepScheduler.from_config(model, algorithm_type=solver, timestep_spacing="trailing")
    return pipeline


def half_mask() -> Tensor:
    mask = torch.zeros(2, 1, 16, 16)
    mask[0, 0, 3:9, 5:14] = 1
    mask[1, 0, :, 8:] = 1
    return mask


@pytest.mark.parametrize("solver", get_args(Solver))
def test_options_of_a_shipped_sampler_change_nothing(diffusion, tmp_path, solver):
    model = tiny.tiny_diffusion(tmp_path / "model")
    options = {"thresholding": True, "use_karras_sigmas": True, "solver_type": "heun", "lower_order_final": False}
    change_config(tmp_path / "model", "scheduler/scheduler_config.json", **options)
    assert torch.equal(sample(load_diffusion(model), solver=solver), sample(diffusion, solver=solver))


class TestPlain:
    @pytest.mark.parametrize("solver", get_args(Solver))
    @pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
    @pytest.mark.parametrize("strength", [0.3, 0.6, 0.8, 1.0])
    def test_equals_the_img2img_pipeline(self, diffusion, strength, guidance_scale, solver):
        wanted = pipeline_of(StableDiffusionImg2ImgPipeline, diffusion, solver)(
            PROMPTS,
            image=latents(1),
            strength=strength,
            num_inference_steps=STEPS,
            guidance_scale=guidance_scale,
            generator=torch.Generator().manual_seed(2),  # the noise is its first draw: latents(2)
            output_type="latent",
        ).images
        found = sample(diffusion, strength=strength, guidance_scale=guidance_scale, solver=solver)
        assert (wanted - latents(1)).abs().mean() > 0.1
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)

    def test_guidance_and_prompt_matter(self, diffusion):
        assert not torch.allclose(sample(diffusion, guidance_scale=1.0), sample(diffusion, guidance_scale=4.0), atol=1e-4)

    @pytest.mark.parametrize(("steps", "strength"), [(10, 0.09), (1, 0.99), (10, 0.0)])
    def test_no_step_to_do_is_an_error(self, diffusion, steps, strength):
        with pytest.raises(ValueError, match=rf"strength {strength} with {steps} steps leaves no step"):
            sample(diffusion, steps=steps, strength=strength)

    @pytest.mark.parametrize(("strength", "first"), [(0.6, 581), (0.7, 681), (0.8, 781)])
    def test_starts_at_the_timestep_of_the_strength(self, diffusion, strength, first):
        asked = []

        def predict(noisy: Tensor, timestep: Tensor, _: Conditioning) -> Tensor:
            asked.append((int(timestep), noisy.clone()))
            return torch.zeros_like(noisy)

        text = diffusion.embed_prompts(PROMPTS)
        settings = {"steps": 50, "strength": strength, "guidance_scale": 1.0}
        edit_latents(predict, diffusion.scheduler, latents(1), latents(2), text, text[:1], **settings)
        assert [timestep for timestep, _ in asked] == list(range(first, 0, -20))
        alpha = diffusion.scheduler.alphas_cumprod[first].item()
        wanted = alpha**0.5 * latents(1).double().numpy() + (1 - alpha) ** 0.5 * latents(2).double().numpy()
        np.testing.assert_allclose(asked[0][1].numpy(), wanted, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("named", [True, False], ids=["with spacing", "without"])
    @pytest.mark.parametrize("steps", [8, 12, 25, 50])
    def test_few_steps_begin_at_last_timestep_and_at_the_strength(self, diffusion, steps, named):
        config = {key: value for key, value in diffusion.scheduler.config.items() if named or key != "timestep_spacing"}
        scheduler = make_scheduler("dpmsolver++", DDIMScheduler.from_config(config))
        scheduler.set_timesteps(steps)
        assert len(scheduler.timesteps) == steps
        assert int(scheduler.timesteps[0]) == 999
        for strength in (0.5, 0.7, 0.9):
            first = int(scheduler.timesteps[steps - int(steps * strength)])
            assert 1000 * strength - 1000 / steps - 1 <= first < 1000 * strength


class TestMasked:
    @pytest.mark.parametrize("solver", get_args(Solver))
    @pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
    @pytest.mark.parametrize("strength", [0.3, 0.6, 0.8, 1.0])
    def test_equals_the_inpaint_pipeline(self, diffusion, strength, guidance_scale, solver):
        # At strength 1 that pipeline starts from noise alone, unlike SDEdit: test_equals_eq_13 covers the other.
        wanted = pipeline_of(StableDiffusionInpaintPipeline, diffusion, solver)(
            PROMPTS,
            image=latents(1),
            mask_image=half_mask().repeat_interleave(2, -1).repeat_interleave(2, -2),
            masked_image_latents=latents(1),  # unused by a U-Net with four channels
            height=32,
            width=32,
            strength=strength,
            num_inference_steps=STEPS,
            guidance_scale=guidance_scale,
            generator=torch.Generator().manual_seed(2),
            output_type="latent",
        ).images
        settings = {"strength": strength, "guidance_scale": guidance_scale, "from_noise": strength == 1, "solver": solver}
        found = sample(diffusion, mask=half_mask(), **settings)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)

    @torch.no_grad()
    def test_equals_eq_13_step_by_step(self, diffusion):
        alphas = diffusion.scheduler.alphas_cumprod.double().numpy()
        timesteps = [901, 801, 701, 601, 501, 401, 301, 201, 101, 1]
        z1, noise, mask = latents(1).double().numpy(), latents(2).double().numpy(), half_mask().double().numpy()
        text, empty = diffusion.embed_prompts(PROMPTS).text, diffusion.embed_prompts([""]).text
        z = alphas[901] ** 0.5 * z1 + (1 - alphas[901]) ** 0.5 * noise
        for place, timestep in enumerate(timesteps):
            asked = torch.from_numpy(z).float()
            plain = diffusion.unet(asked, timestep, empty.expand_as(text)).sample.double().numpy()
            guided = plain + 4 * (diffusion.unet(asked, timestep, text).sample.double().numpy() - plain)
            clean = (z - (1 - alphas[timestep]) ** 0.5 * guided) / alphas[timestep] ** 0.5
            following = alphas[timesteps[place + 1]] if place < 9 else alphas[0]  # set_alpha_to_one=False
            z = following**0.5 * clean + (1 - following) ** 0.5 * guided
            kept = following**0.5 * z1 + (1 - following) ** 0.5 * noise if place < 9 else z1
            z = (1 - mask) * kept + mask * z
        found = sample(diffusion, strength=1.0, mask=half_mask())
        np.testing.assert_allclose(found.numpy(), z, rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize("solver", get_args(Solver))
    @pytest.mark.parametrize("strength", [0.3, 1.0])
    def test_empty_mask_returns_the_source_exactly(self, diffusion, strength, solver):
        found = sample(diffusion, strength=strength, mask=torch.zeros(2, 1, 16, 16), solver=solver)
        assert torch.equal(found, latents(1))

    @pytest.mark.parametrize("solver", get_args(Solver))
    @pytest.mark.parametrize("strength", [0.3, 1.0])
    def test_full_mask_is_the_plain_edit(self, diffusion, strength, solver):
        full = sample(diffusion, strength=strength, mask=torch.ones(2, 1, 16, 16), solver=solver)
        assert torch.equal(full, sample(diffusion, strength=strength, solver=solver))

    def test_outside_the_mask_the_source_stays_exactly(self, diffusion):
        found, outside = sample(diffusion, mask=half_mask()), (half_mask() == 0).expand(2, 4, 16, 16)
        assert torch.equal(found[outside], latents(1)[outside])
        assert (found - latents(1))[~outside].abs().mean() > 0.1


class TestNoise:
    def test_depends_on_seed_and_key_alone(self):
        shape = torch.Size((4, 16, 16))
        first = draw_noise(shape, 0, "a")
        torch.manual_seed(123)
        assert torch.equal(first, draw_noise(shape, 0, "a"))
        assert not torch.equal(first, draw_noise(shape, 0, "b"))
        assert not torch.equal(first, draw_noise(shape, 1, "a"))
        assert abs(first.mean()) < 0.15
        assert abs(first.std() - 1) < 0.1


def _local_noise(latents: torch.Tensor, _: torch.Tensor, prompts: Conditioning) -> torch.Tensor:
    """A prediction that differs by prompt and is independent at every place."""
    return 0.3 * latents + 0.1 * prompts.text.mean(dim=(1, 2)).reshape(-1, 1, 1, 1)


@quick
@given(mask=masks(4, 4), steps=st.integers(1, 6), strength=st.sampled_from([0.5, 1.0]), seed=st.integers(0, 9))
def test_blending_keeps_the_source_outside_any_mask(mask, steps, strength, seed):
    if int(steps * strength) == 0:
        strength = 1.0
    generator = torch.Generator().manual_seed(seed)
    source, noise = torch.randn(2, 1, 3, 4, 4, generator=generator)

    def edit(where: torch.Tensor | None) -> torch.Tensor:
        scheduler = DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1)
        options = {"steps": steps, "strength": strength, "guidance_scale": 2.0, "mask": where}
        prompt, empty = Conditioning(torch.ones(1, 2, 2)), Conditioning(torch.zeros(1, 2, 2))
        return edit_latents(_local_noise, scheduler, source, noise, prompt, empty, **options)

    edited = edit(as_tensor(mask))
    inside = torch.from_numpy(mask).expand_as(source)
    assert torch.equal(edited[~inside], source[~inside])
    if mask.all():
        assert torch.equal(edited, edit(None))
    if mask.any():
        assert not torch.equal(edited[inside], source[inside])
