"""The training pictures of the U-Net, encoded once: the scenes, and objects of some of them on plain colours.

``python -m nano.encoded_pictures`` writes build/encoded_pictures.safetensors.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, load_model, save_file
from torch import Tensor, nn
from tqdm import tqdm
from transformers import BlipForConditionalGeneration, BlipImageProcessorPil

from nano.captioner import FOLDER as CAPTIONER
from nano.fit import seeded_generator
from nano.scenes import Scenes, cut_out, load_scenes
from nano.settings import BUILD, read_settings
from nano.vae import FOLDER as VAE_FOLDER
from stages.common.seeds import derive_seed
from stages.core.files import written_aside
from stages.models.tensors import device

CUT_OUTS = 16000  # the first scenes, whose objects are cut out besides
PATH = BUILD / "encoded_pictures.safetensors"
BATCH = 64


@dataclass(frozen=True, kw_only=True)
class EncodedPictures:
    """Of every scene in its order, and then of every cut-out."""

    latents: Tensor  # scaled, (n, channels, size / 8, size / 8)
    features: Tensor  # what the captioner's vision tower sees in each patch, in half precision, (n, patches, width)


def load_vae() -> AutoencoderKL:
    """Return the trained autoencoder."""
    # Not from_pretrained, which writes this machine's path into the model's configuration.
    vae = AutoencoderKL.from_config(AutoencoderKL.load_config(VAE_FOLDER)).eval()
    load_model(vae, VAE_FOLDER / "diffusion_pytorch_model.safetensors")
    return vae


def load_vision_tower() -> Callable[[Tensor], Tensor]:
    """Return a function from pictures in [0, 1], (n, 3, size, size), to the captioner's features, (n, patches, width)."""
    tower = BlipForConditionalGeneration.from_pretrained(CAPTIONER, dtype=torch.float32).vision_model.eval()
    processor = BlipImageProcessorPil.from_pretrained(CAPTIONER)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (processor.image_mean, processor.image_std))

    def see(pictures: Tensor) -> Tensor:
        side = tower.config.image_size
        reduced = nn.functional.interpolate(pictures, (side, side), mode="bicubic", antialias=True)
        hidden: Tensor = tower((reduced - mean) / std).last_hidden_state
        return hidden[:, 1:]  # the first is of the picture as a whole

    return see


def load_encoded_pictures() -> EncodedPictures:
    """Return what ``main`` wrote, on the device."""
    return EncodedPictures(**load_file(PATH, device=str(device())))


def draw_pictures(scenes: Scenes, cut_outs: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield batches of the scenes' pictures, then of the first ``cut_outs`` with their object on a plain colour."""
    for rows in torch.arange(len(scenes.captions)).split(BATCH):
        yield scenes.pictures(rows)
    for rows in torch.arange(cut_outs).split(BATCH):
        yield cut_out(scenes.pictures(rows), scenes.masks(rows), 1.0, generator)[0]


@torch.no_grad()
def main() -> None:
    """Encode all training pictures."""
    torch.set_default_device(device())
    settings = read_settings()
    scenes, vae, see = load_scenes("train", settings["size"]), load_vae(), load_vision_tower()
    grounds = seeded_generator(derive_seed(settings["seed"], "diffusion", "grounds"))
    latents, features = [], []
    batches = -(-len(scenes.captions) // BATCH) + -(-CUT_OUTS // BATCH)
    for pictures in tqdm(
        draw_pictures(scenes, CUT_OUTS, grounds), desc="encoded pictures", unit="batch", total=batches, mininterval=5
    ):
        with torch.autocast(device().type, dtype=torch.bfloat16):
            encoded, seen = vae.encode((pictures * 2 - 1).to(memory_format=torch.channels_last)).latent_dist.mean, see(pictures)
        latents.append(encoded.float().contiguous() * vae.config.scaling_factor)
        features.append(seen.half())
    with written_aside(PATH) as temporary:
        save_file({"latents": torch.cat(latents), "features": torch.cat(features)}, temporary)


if __name__ == "__main__":
    main()
