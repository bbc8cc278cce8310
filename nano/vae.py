"""Train the AutoencoderKL: 64 x 64 pixels to 16 x 16 latents of 8 channels."""

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from nano.fit import draw_rows, fit, halve
from nano.scenes import load_scenes
from nano.settings import MODELS, read_settings, read_training

KL_WEIGHT = 2e-7
FOLDER = MODELS / "diffusion" / "vae"


def build(size: int) -> AutoencoderKL:
    """Return an untrained autoencoder with at least 4 channels a norm group, because fewer wipe out colour."""
    return AutoencoderKL(
        sample_size=size,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 48, 64),
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=8,
        mid_block_add_attention=False,
    )


def main() -> None:
    """Train, set the scaling factor from the latents' standard deviation, and write the model."""
    settings, training = read_settings(), read_training("vae")
    scenes = load_scenes("train")
    torch.manual_seed(settings["seed"])
    vae = build(settings["size"])

    def loss_of(generator: torch.Generator) -> Tensor:
        pictures = scenes.pictures(draw_rows(len(scenes.captions), training.batch, generator)) * 2 - 1
        posterior = vae.encode(pictures).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator)
        restored = vae.decode(posterior.mean + posterior.std * noise).sample.float()
        error = restored - pictures
        return error.square().mean() + 0.1 * error.abs().mean() + KL_WEIGHT * posterior.kl().mean()

    fit("vae", vae, loss_of, training, settings["seed"])
    with torch.no_grad():
        latents = torch.cat(
            [vae.encode(scenes.pictures(rows) * 2 - 1).latent_dist.mean for rows in torch.arange(1024).split(64)]
        )
    vae.register_to_config(scaling_factor=1 / latents.std().item())
    vae.save_pretrained(FOLDER)
    halve(FOLDER / "diffusion_pytorch_model.safetensors")


if __name__ == "__main__":
    main()
