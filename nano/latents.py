"""Latents of the training scenes, encoded once: of whole pictures, and of objects on plain colours.

``python -m nano.latents`` writes build/latents.safetensors.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, load_model, save_file
from torch import Tensor
from tqdm import tqdm

from nano.fit import seeded_generator
from nano.scenes import cut_out, load_scenes
from nano.settings import BUILD, read_settings
from nano.vae import FOLDER as VAE_FOLDER
from stages.common.seeds import derive_seed
from stages.core.files import written_aside
from stages.models.tensors import device

CUT_OUTS = 16000  # the first scenes, whose objects are cut out
PATH = BUILD / "latents.safetensors"


@dataclass(frozen=True, kw_only=True)
class Latents:
    """Scaled latents (n, 8, size / 4, size / 4), in the order of the scenes."""

    whole: Tensor
    cut_outs: Tensor  # of the first CUT_OUTS scenes


def load_vae() -> AutoencoderKL:
    """Return the trained autoencoder."""
    # Not from_pretrained, which writes this machine's path into the model's configuration.
    vae = AutoencoderKL.from_config(AutoencoderKL.load_config(VAE_FOLDER)).eval()
    load_model(vae, VAE_FOLDER / "diffusion_pytorch_model.safetensors")
    return vae


def load_latents() -> Latents:
    """Return the latents that ``main`` wrote, on the device."""
    return Latents(**load_file(PATH, device=str(device())))


@torch.no_grad()
def encode(vae: AutoencoderKL, count: int, pictures_of: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the latents of the first ``count`` scenes, whose pictures in [0, 1] ``pictures_of`` returns for rows."""
    parts = tqdm(torch.arange(count).split(64), desc="latents", unit="batch", mininterval=5)
    means = [vae.encode(pictures_of(rows) * 2 - 1).latent_dist.mean for rows in parts]
    return torch.cat(means) * vae.config.scaling_factor


def main() -> None:
    """Encode all training scenes."""
    torch.set_default_device(device())
    settings = read_settings()
    scenes, vae = load_scenes("train"), load_vae()
    grounds = seeded_generator(derive_seed(settings["seed"], "diffusion", "grounds"))
    latents = {
        "whole": encode(vae, len(scenes.captions), scenes.pictures),
        "cut_outs": encode(vae, CUT_OUTS, lambda rows: cut_out(scenes.pictures(rows), scenes.masks(rows), 1.0, grounds)[0]),
    }
    with written_aside(PATH) as temporary:
        save_file(latents, temporary)


if __name__ == "__main__":
    main()
