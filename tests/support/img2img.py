"""An edit beside diffusers' own image-to-image pipeline."""

from functools import partial

import torch
from diffusers import DiffusionPipeline

from stages.diffusion.sampling import edit_latents, make_scheduler
from stages.diffusion.unet import predict_noise
from stages.models.latent_diffusion import Diffusion

STEPS = 10


@torch.no_grad()
def assert_edits_as(
    pipeline: DiffusionPipeline,
    diffusion: Diffusion,
    prompts: list[str],
    shape: torch.Size,
    strength: float,
    guidance_scale: float,
) -> None:
    """Compare unmasked edits of random latents of a shape (n, c, h, w), by DDIM in ten steps, with the pipeline's."""
    source = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    wanted = pipeline(
        prompts,
        image=source,
        strength=strength,
        num_inference_steps=STEPS,
        guidance_scale=guidance_scale,
        generator=torch.Generator().manual_seed(2),  # the noise is its first draw
        output_type="latent",
    ).images
    found = edit_latents(
        partial(predict_noise, diffusion, diffusion.unet),
        make_scheduler("ddim", diffusion.scheduler),
        source,
        noise,
        diffusion.embed_prompts(prompts),
        diffusion.embed_prompts([""]),
        steps=STEPS,
        strength=strength,
        guidance_scale=guidance_scale,
    )
    assert (wanted - source).abs().mean() > 0.1
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
