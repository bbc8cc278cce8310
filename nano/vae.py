"""Train the AutoencoderKL: 128 x 128 pixels to 16 x 16 latents of 12 channels."""

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from nano.fit import draw_rows, fit, halve
from nano.scenes import load_scenes
from nano.settings import MODELS, read_settings, read_training
from stages.models.tensors import device

KL_WEIGHT = 2e-7
CROP = 64  # pixels; nothing in the model sees a whole picture, so parts teach it as much in a quarter of the time
FOLDER = MODELS / "diffusion" / "vae"


def build(size: int) -> AutoencoderKL:
    """Return an untrained autoencoder with at least 4 channels a norm group, because fewer wipe out colour."""
    return AutoencoderKL(
        sample_size=size,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 32, 64, 96),
        layers_per_block=1,
        latent_channels=12,
        norm_num_groups=8,
        mid_block_add_attention=False,
    )


def crop(pictures: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Return a random square of each picture, (n, channels, side, side), of pictures (n, channels, height, width)."""
    squares = pictures.unfold(2, side, 1).unfold(3, side, 1)  # (n, channels, tops, lefts, side, side), without a copy
    tops, lefts = (torch.randint(count, (len(pictures),), generator=generator) for count in squares.shape[2:4])
    return squares[torch.arange(len(pictures)), :, tops, lefts]


def main() -> None:
    """Train, set the scaling factor from the latents' standard deviation, and write the model."""
    torch.set_default_device(device())
    settings, training = read_settings(), read_training("vae")
    scenes = load_scenes("train", settings["size"])
    torch.manual_seed(settings["seed"])
    vae = build(settings["size"])

    def loss_of(generator: torch.Generator) -> Tensor:
        whole = scenes.pictures(draw_rows(len(scenes.captions), training.batch, generator)) * 2 - 1
        pictures = crop(whole, CROP, generator).to(memory_format=torch.channels_last)  # the faster layout in bf16
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
