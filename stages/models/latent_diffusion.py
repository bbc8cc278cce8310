"""Stable Diffusion (Rombach et al. 2022): autoencoder, text encoder, U-Net and noise schedule."""

from collections.abc import Sequence
from dataclasses import dataclass

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from stages.core.params import ModelName
from stages.models.loading import WEIGHTS, check_vocabulary, complete, frozen, loading
from stages.models.prompts import unread
from stages.models.tensors import device

diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.disable_progress_bar()
FILES = ("scheduler/scheduler_config.json", "text_encoder/config.json", "unet/config.json", "vae/config.json")


@dataclass(frozen=True)
class Diffusion:
    """The parts of a latent diffusion model, all in fp32."""

    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    unet: UNet2DConditionModel
    scheduler: DDIMScheduler

    @torch.no_grad()
    def embed_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Return text embeddings (n, context, d); tokens beyond the context are cut off."""
        length = self.text_encoder.config.max_position_embeddings  # a tokenizer's configuration may lack it
        tokens = self.tokenizer(list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        embeddings: Tensor = self.text_encoder(tokens.input_ids.to(device())).last_hidden_state
        return embeddings

    def unread(self, prompt: str) -> str:
        """Return the end of a prompt that lies beyond the text encoder's context; empty if all of it is read."""
        return unread(self.tokenizer, prompt, self.text_encoder.config.max_position_embeddings)

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """Return scaled latents (n, c, h, w) of pictures (n, 3, H, W) in [0, 1]: the posterior's mode, without noise."""
        latents: Tensor = self.vae.encode(pictures * 2 - 1).latent_dist.mode() * self.vae.config.scaling_factor
        return latents

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
        text_encoder = complete(CLIPTextModel.from_pretrained(folder / "text_encoder", **WEIGHTS))
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        check_vocabulary(tokenizer, text_encoder.config.vocab_size)
        return Diffusion(
            vae=frozen(complete(AutoencoderKL.from_pretrained(folder / "vae", **WEIGHTS))),
            text_encoder=frozen(text_encoder),
            tokenizer=tokenizer,
            unet=frozen(complete(UNet2DConditionModel.from_pretrained(folder / "unet", **WEIGHTS))),
            scheduler=DDIMScheduler.from_pretrained(
                folder / "scheduler", clip_sample=False, set_alpha_to_one=False, steps_offset=1
            ),
        )
