"""Models that predict the velocity, against diffusers' scheduler and pipelines."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline, StableDiffusionInstructPix2PixPipeline

from stages.comparison.systems import diffusers_pipeline, instructed_by
from stages.core.params import ModelName
from stages.diffusion.noise import add_noise, alpha_at, noise_of_velocity, velocity
from stages.diffusion.sampling import make_scheduler
from stages.models.latent_diffusion import Diffusion, load_diffusion
from stages.training.iedit import IEdit
from stages.training.instruct_pix2pix import InstructPix2Pix, widen
from tests.support.checkpoints import change_config
from tests.support.img2img import assert_edits_as
from tests.support.objective import ALL_ON, Network, draws, method_of
from tests.support.training import edit_sample, params_for, read

PROMPTS = ["a red dog", "a cat on the beach"]


@pytest.fixture(scope="module")
def diffusion(tools, tmp_path_factory) -> Diffusion:
    """The tiny checkpoint, said to predict the velocity, as Stable Diffusion 2.1 does."""
    folder = shutil.copytree(tools.folder / "base", tmp_path_factory.mktemp("models") / "velocity")
    change_config(folder, "scheduler/scheduler_config.json", prediction_type="v_prediction")
    return load_diffusion(ModelName(name=str(folder)))


def latents(seed: int) -> torch.Tensor:
    return torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(seed))


def test_velocity_is_that_of_the_scheduler():
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    times = torch.tensor([3, 998])
    alpha = alpha_at(scheduler.alphas_cumprod, times)
    found = velocity(latents(1), latents(2), alpha)
    torch.testing.assert_close(found, scheduler.get_velocity(latents(1), latents(2), times))
    noisy = add_noise(latents(1), latents(2), alpha)
    torch.testing.assert_close(noise_of_velocity(found, noisy, alpha), latents(2), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_edit_equals_the_img2img_pipeline(diffusion, strength, guidance_scale):
    pipeline = diffusers_pipeline(StableDiffusionImg2ImgPipeline, diffusion)
    assert_edits_as(pipeline, diffusion, PROMPTS, latents(1).shape, strength, guidance_scale)


def test_training_of_iedit_sees_the_noise_that_the_velocity_means(tools, diffusion):
    batch, drawn = read(tools.data, [0, 1, 2]), draws()
    noises = torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(7))
    alpha = alpha_at(diffusion.scheduler.alphas_cumprod, drawn.timesteps).double()
    noisy = alpha.sqrt() * batch.z1 + (1 - alpha).sqrt() * drawn.noise
    velocities = ((noises - (1 - alpha).sqrt() * noisy) / alpha.sqrt()).float()  # those that mean these noises
    method = IEdit(diffusion, tools.clip, tools.vgg, ALL_ON, 0.2)
    found = method.losses(Network(velocities), batch, drawn)
    wanted = method_of(tools).losses(Network(noises), batch, drawn)
    for name in ("raw/noise", "raw/global_clip", "raw/local_clip", "raw/perceptual", "total"):
        torch.testing.assert_close(found[name], wanted[name], rtol=2e-3, atol=1e-4, msg=name)


def test_guided_base_is_compared_as_noise(tools, diffusion):
    batch, drawn = read(tools.data, [0, 1, 2]), draws()
    config = ALL_ON.model_copy(update={"noise": "guided", "guidance_scale": 1.0})
    method = IEdit(diffusion, tools.clip, tools.vgg, config, 0.2)
    alpha = alpha_at(diffusion.scheduler.alphas_cumprod, drawn.timesteps)
    noisy = alpha.sqrt() * batch.z1 + (1 - alpha).sqrt() * drawn.noise
    with torch.no_grad():
        predicted = diffusion.unet(noisy, drawn.timesteps, batch.prompt.text).sample
        found = method._predict(diffusion.unet, batch, drawn).guided_noise
    clean = DDIMScheduler.from_config(diffusion.scheduler.config)
    clean.set_timesteps(10)
    for row, time in enumerate(drawn.timesteps):  # the scheduler's own conversion, as it steps
        step = clean.step(predicted[[row]], int(time), noisy[[row]]).pred_original_sample
        noise = (noisy[[row]] - alpha[row].sqrt() * step) / (1 - alpha[row]).sqrt()
        torch.testing.assert_close(found[[row]], noise, rtol=1e-3, atol=1e-3)


def test_instruct_pix2pix_learns_the_velocity(tools, diffusion):
    method, batch = InstructPix2Pix(diffusion, 0.0), read(tools.data, [0, 1])
    drawn = method.draw(batch.z2.shape[1:], 0, [0, 1])
    prediction = latents(3)
    found = method.losses(Network(prediction), batch, drawn)["total"]
    wanted = diffusion.scheduler.get_velocity(batch.z2, drawn.noise, drawn.timesteps)
    torch.testing.assert_close(found, (prediction - wanted).square().mean(dim=(1, 2, 3)))


def test_instructed_edits_step_by_velocity(tools, diffusion):
    instructed = replace(diffusion, unet=widen(diffusion.unet))
    sampling = params_for(tools.folder).sampling.model_copy(update={"solver": "ddim", "guidance_scale": 3.0, "steps": 4})
    found = instructed_by(instructed, "", sampling, 1.4).edit([edit_sample(0)], None, 7).pictures
    pipeline = diffusers_pipeline(StableDiffusionInstructPix2PixPipeline, instructed)
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    as_noise = replace(instructed, scheduler=make_scheduler("ddim", diffusion.scheduler))
    other = instructed_by(as_noise, "", sampling, 1.4).edit([edit_sample(0)], None, 7).pictures
    assert np.abs(found.numpy() - other.numpy()).mean() > 0.01
