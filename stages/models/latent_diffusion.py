"""Latent diffusion (Rombach et al. 2022): autoencoder, text encoders, U-Net and noise schedule of a supported family."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from PIL import Image
from torch import Tensor, nn

from stages.core.files import read_json
from stages.core.params import ModelName
from stages.core.section import Precision
from stages.models import stable_diffusion, stable_diffusion_xl
from stages.models.conditioning import Conditioning, PromptEncoder
from stages.models.families import SCHEDULER, STABLE_DIFFUSION, STABLE_DIFFUSION_XL, Family, family_of
from stages.models.loading import complete, frozen, loading, weights_in
from stages.models.tensors import to_tensor

diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.disable_progress_bar()
SCHEDULE = (  # what a scheduler's configuration says of the model, not of a sampler
    *("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas"),
    *("prediction_type", "timestep_spacing"),
)
PIXELS_AT_ONCE = 2**20  # of pictures in the autoencoder, whose memory grows with them: four of 512 x 512
READERS: dict[Family, Callable[[Path, Precision], PromptEncoder]] = {
    STABLE_DIFFUSION: stable_diffusion.read_prompt_encoder,
    STABLE_DIFFUSION_XL: stable_diffusion_xl.read_prompt_encoder,
}


@dataclass(frozen=True)
class PictureEncoder:
    """The autoencoder, as far as it turns pictures into latents."""

    vae: AutoencoderKL

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """Return scaled latents (n, c, h, w) of pictures (n, 3, H, W) in [0, 1]: the posterior's mode, without noise."""
        seen = (pictures * 2 - 1).to(self.vae.dtype)
        parts = _slices(seen, pixels=seen.shape[-2] * seen.shape[-1])
        latents = torch.cat([self.vae.encode(part).latent_dist.mode() for part in parts])
        return latents.float() * self.vae.config.scaling_factor

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Return scaled latents (n, c, h, w) of RGB images of one size."""
        return self.encode(to_tensor(images))

    def shape(self, width: int, height: int) -> tuple[int, int, int]:
        """Return the shape (c, h, w) of the latents of a picture; width and height in pixels."""
        return self.vae.config.latent_channels, height // self.cell, width // self.cell

    @property
    def cell(self) -> int:
        """The pixels that a cell of the latents stands for, a side."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))


@dataclass(frozen=True)
class Diffusion:
    """The parts of a latent diffusion model. Pictures, latents and embeddings are fp32, whatever the parts' precision."""

    family: Family
    vae: AutoencoderKL
    prompts: PromptEncoder
    unet: UNet2DConditionModel
    scheduler: DDIMScheduler

    @property
    def components(self) -> Mapping[str, Any]:
        """Every part but the scheduler, by the names that diffusers' pipelines give them."""
        return {"vae": self.vae, "unet": self.unet, **self.prompts.components}

    @property
    def predicts_velocity(self) -> bool:
        """Whether the U-Net predicts the velocity, not the noise; see :mod:`stages.diffusion.unet`."""
        return bool(self.scheduler.config.prediction_type == "v_prediction")

    def to(self, place: torch.device) -> None:
        """Move every part to a device."""
        for part in self.components.values():
            if isinstance(part, nn.Module):
                part.to(place)

    def embed_prompts(self, prompts: Sequence[str]) -> Conditioning:
        """Return the embeddings of n prompts; tokens beyond the context are cut off."""
        return self.prompts.embed(prompts)

    def unread(self, prompt: str) -> str:
        """Return the end of a prompt that lies beyond the text encoder's context; empty if all of it is read."""
        return self.prompts.unread(prompt)

    def size_of(self, latents: Tensor) -> tuple[int, int]:
        """Return the width and height in pixels of the pictures that latents, (n, c, h, w), stand for."""
        cell = PictureEncoder(self.vae).cell
        return latents.shape[-1] * cell, latents.shape[-2] * cell

    def encode(self, pictures: Tensor) -> Tensor:
        """Return scaled latents (n, c, h, w) of pictures (n, 3, H, W) in [0, 1]; see :meth:`PictureEncoder.encode`."""
        return PictureEncoder(self.vae).encode(pictures)

    def decode(self, latents: Tensor) -> Tensor:
        """Eq 6: x̂₁ = D(ẑ₁), pictures (n, 3, H, W), nominally in [0, 1] but not clamped; gradients flow to the latents.

        An autoencoder that overflows in half precision decodes in fp32 also where the training around it does not.
        """
        with torch.autocast(latents.device.type, enabled=False) if self.family.decodes_in_fp32 else nullcontext():
            scaled = (latents / self.vae.config.scaling_factor).to(self.vae.dtype)
            parts = _slices(scaled, pixels=math.prod(self.size_of(latents)))
            pictures = (torch.cat([self.vae.decode(part).sample for part in parts]) + 1) / 2
        return pictures.float()


def _slices(rows: Tensor, *, pixels: int) -> Sequence[Tensor]:
    """Return the rows of a batch in parts of at most PIXELS_AT_ONCE; a row stands for a picture of so many pixels.

    A part has 1, 2, 4, … rows, so that batches of a power of two have parts of one size: bits depend on it.
    """
    fit = max(1, PIXELS_AT_ONCE // pixels)
    return rows.split(1 << (fit.bit_length() - 1))


def load_diffusion(model: ModelName, *, pictures: int = 1) -> Diffusion:
    """Load a checkpoint. Its noise schedule is always sampled with DDIM, whichever sampler it ships with.

    Args:
        model: the checkpoint.
        pictures: how many pictures' latents its U-Net takes: 2 for InstructPix2Pix, which also sees the source.

    Raises:
        ModelError: the model is missing, incomplete or damaged, or of no supported family.
    """
    with loading(model) as folder:
        family = family_of(model, folder, pictures=pictures)
        return Diffusion(
            family=family,
            vae=_read_autoencoder(folder, family, model.precision),
            prompts=READERS[family](folder, model.precision),
            unet=_read_unet(folder, model.precision),
            scheduler=_read_schedule(folder),
        )


def load_picture_encoder(model: ModelName) -> PictureEncoder:
    """Load the autoencoder of a checkpoint alone.

    Raises:
        ModelError: the model is missing, incomplete or damaged, or of no supported family.
    """
    with loading(model) as folder:
        return PictureEncoder(_read_autoencoder(folder, family_of(model, folder), model.precision))


def load_prompt_encoder(model: ModelName) -> PromptEncoder:
    """Load the text encoders of a checkpoint alone.

    Raises:
        ModelError: the model is missing, incomplete or damaged, or of no supported family.
    """
    with loading(model) as folder:
        return READERS[family_of(model, folder)](folder, model.precision)


def load_unet(folder: Path) -> UNet2DConditionModel:
    """Load the U-Net of a checkpoint alone.

    Raises:
        ModelError: the model is missing, incomplete or damaged.
    """
    with loading(ModelName(name=str(folder)), "unet/config.json") as found:
        return _read_unet(found, "fp32")


def _read_unet(folder: Path, precision: Precision) -> UNet2DConditionModel:
    unet: UNet2DConditionModel = frozen(_read(UNet2DConditionModel, folder / "unet"), precision)
    return unet


def _read_schedule(folder: Path) -> DDIMScheduler:
    """Read the noise schedule; options of the sampler that a checkpoint ships with would change results of ours."""
    config = read_json(folder / SCHEDULER)
    schedule = {key: config[key] for key in SCHEDULE if key in config}
    return DDIMScheduler(**schedule, clip_sample=False, set_alpha_to_one=False, steps_offset=1)


def _read_autoencoder(folder: Path, family: Family, precision: Precision) -> AutoencoderKL:
    """Read the autoencoder; one that overflows in half precision stays in fp32, unless its configuration says it does not."""
    autoencoder: AutoencoderKL = _read(AutoencoderKL, folder / "vae")
    overflows = family.decodes_in_fp32 and autoencoder.config.force_upcast
    safe: AutoencoderKL = frozen(autoencoder, "fp32" if overflows else precision)
    return safe


def _read(kind: Any, folder: Path) -> Any:
    return complete(kind.from_pretrained(folder, **weights_in(folder, "diffusion_pytorch_model")))
