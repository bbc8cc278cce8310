"""Stable Diffusion (Rombach et al. 2022): autoencoder, text encoder, U-Net and noise schedule."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from stages.core.params import ModelName
from stages.models.loading import WEIGHTS, check_vocabulary, complete, frozen, loading
from stages.models.prompts import unread
from stages.models.tensors import device, to_tensor

diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.disable_progress_bar()
FILES = ("scheduler/scheduler_config.json", "text_encoder/config.json", "unet/config.json", "vae/config.json")


@dataclass(frozen=True)
class PictureEncoder:
    """The autoencoder, as far as it turns pictures into latents."""

    vae: AutoencoderKL

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """Return scaled latents (n, c, h, w) of pictures (n, 3, H, W) in [0, 1]: the posterior's mode, without noise."""
        latents: Tensor = self.vae.encode(pictures * 2 - 1).latent_dist.mode() * self.vae.config.scaling_factor
        return latents

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Return scaled latents (n, c, h, w) of RGB images of one size."""
        return self.encode(to_tensor(images))

    def shape(self, width: int, height: int) -> tuple[int, int, int]:
        """Return the shape (c, h, w) of the latents of a picture; width and height in pixels."""
        factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        return self.vae.config.latent_channels, height // factor, width // factor


@dataclass(frozen=True)
class PromptEncoder:
    """The text encoder with its tokenizer."""

    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer

    @torch.no_grad()
    def embed(self, prompts: Sequence[str]) -> Tensor:
        """Return text embeddings (n, context, d); tokens beyond the context are cut off."""
        length = self.shape[0]  # a tokenizer's configuration may lack it
        tokens = self.tokenizer(list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        embeddings: Tensor = self.text_encoder(tokens.input_ids.to(device())).last_hidden_state
        return embeddings

    @property
    def shape(self) -> tuple[int, int]:
        """The shape (context, d) of an embedding."""
        return self.text_encoder.config.max_position_embeddings, self.text_encoder.config.hidden_size


@dataclass(frozen=True)
class Diffusion:
    """The parts of a latent diffusion model, all in fp32."""

    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    unet: UNet2DConditionModel
    scheduler: DDIMScheduler

    def embed_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Return text embeddings (n, context, d); see :meth:`PromptEncoder.embed`."""
        return PromptEncoder(self.text_encoder, self.tokenizer).embed(prompts)

    def unread(self, prompt: str) -> str:
        """Return the end of a prompt that lies beyond the text encoder's context; empty if all of it is read."""
        return unread(self.tokenizer, prompt, self.text_encoder.config.max_position_embeddings)

    def encode(self, pictures: Tensor) -> Tensor:
        """Return scaled latents (n, c, h, w) of pictures (n, 3, H, W) in [0, 1]; see :meth:`PictureEncoder.encode`."""
        return PictureEncoder(self.vae).encode(pictures)

    def decode(self, latents: Tensor) -> Tensor:
        """Eq 6: x̂₁ = D(ẑ₁), pictures (n, 3, H, W), nominally in [0, 1] but not clamped; gradients flow to the latents."""
        pictures: Tensor = self.vae.decode(latents / self.vae.config.scaling_factor).sample
        return (pictures + 1) / 2


def load_diffusion(model: ModelName) -> Diffusion:
    """Load a Stable Diffusion folder. Its noise schedule is always sampled with DDIM, whichever sampler it ships with.

    Raises:
        ModelError: the model is missing, incomplete or damaged.
    """
    with loading(model, *FILES) as folder:
        prompts = _read_prompt_encoder(folder)
        return Diffusion(
            vae=_read_autoencoder(folder),
            text_encoder=prompts.text_encoder,
            tokenizer=prompts.tokenizer,
            unet=_read_unet(folder),
            scheduler=DDIMScheduler.from_pretrained(
                folder / "scheduler", clip_sample=False, set_alpha_to_one=False, steps_offset=1
            ),
        )


def load_picture_encoder(model: ModelName) -> PictureEncoder:
    """Load the autoencoder of a Stable Diffusion folder alone.

    Raises:
        ModelError: the model is missing, incomplete or damaged.
    """
    with loading(model, "vae/config.json") as folder:
        return PictureEncoder(_read_autoencoder(folder))


def load_prompt_encoder(model: ModelName) -> PromptEncoder:
    """Load the text encoder of a Stable Diffusion folder alone.

    Raises:
        ModelError: the model is missing, incomplete or damaged.
    """
    with loading(model, "text_encoder/config.json") as folder:
        return _read_prompt_encoder(folder)


def load_unet(folder: Path) -> UNet2DConditionModel:
    """Load the U-Net of a Stable Diffusion folder alone.

    Raises:
        ModelError: the model is missing, incomplete or damaged.
    """
    with loading(ModelName(name=str(folder)), "unet/config.json") as found:
        return _read_unet(found)


def _read_unet(folder: Path) -> UNet2DConditionModel:
    unet: UNet2DConditionModel = frozen(complete(UNet2DConditionModel.from_pretrained(folder / "unet", **WEIGHTS)))
    return unet


def _read_autoencoder(folder: Path) -> AutoencoderKL:
    return frozen(complete(AutoencoderKL.from_pretrained(folder / "vae", **WEIGHTS)))


def _read_prompt_encoder(folder: Path) -> PromptEncoder:
    text_encoder = complete(CLIPTextModel.from_pretrained(folder / "text_encoder", **WEIGHTS))
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    check_vocabulary(tokenizer, text_encoder.config.vocab_size)
    return PromptEncoder(frozen(text_encoder), tokenizer)
