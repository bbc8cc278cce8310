"""What the U-Net predicts for a batch, and everything that the losses compare it with, computed when first asked for."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from stages.core.params_training import Losses
from stages.diffusion import guidance
from stages.diffusion.losses import clamp_pictures
from stages.diffusion.masks import widen_cells
from stages.diffusion.noise import noise_towards, predict_clean, time_share
from stages.diffusion.unet import predict_noise
from stages.models.clip import Clip
from stages.models.conditioning import Conditioning
from stages.models.latent_diffusion import Diffusion
from stages.models.vgg import Vgg
from stages.training.dataset import Batch


@dataclass(frozen=True, kw_only=True)
class Networks:
    """The frozen networks that the losses need."""

    diffusion: Diffusion
    clip: Clip
    vgg: Vgg
    teacher: UNet2DConditionModel | None  # the base model, for the loss L_guided alone
    empty_prompt: Conditioning  # the empty prompt, one


@dataclass(frozen=True, kw_only=True)
class EditPrediction:
    """The predicted noise of n samples; a :class:`stages.diffusion.losses.Prediction`."""

    networks: Networks
    config: Losses
    batch: Batch
    timesteps: Tensor  # (n,)
    alpha: Tensor  # α_t, (n, 1, 1, 1)
    source_noise: Tensor  # ε₁, (n, c, h, w)
    noisy: Tensor  # z_t, (n, c, h, w)
    noise: Tensor  # ε_θ, (n, c, h, w)

    def select(self, rows: Tensor) -> "EditPrediction":
        """Return the prediction of some samples, by their row numbers, (m,)."""
        tensors = ("timesteps", "alpha", "source_noise", "noisy", "noise")
        return replace(self, batch=self.batch.select(rows), **{name: getattr(self, name)[rows] for name in tensors})

    @cached_property
    def time(self) -> Tensor:
        """t/T, (n,), in (0, 1]."""
        return time_share(self.timesteps, len(self.networks.diffusion.scheduler.alphas_cumprod))

    @property
    def snr(self) -> Tensor:
        """The signal-to-noise ratio of z_t, α_t / (1 − α_t), (n,)."""
        return (self.alpha / (1 - self.alpha)).flatten()

    @cached_property
    def target_noise(self) -> Tensor:
        """ε₂ of Eq 3, (n, c, h, w)."""
        return noise_towards(self.noisy, self.batch.z2, self.alpha)

    @cached_property
    @torch.no_grad()
    def guided_noise(self) -> Tensor:
        """What the base model predicts for the same z_t under guidance by the prompt, (n, c, h, w)."""
        teacher, prompt = self.networks.teacher, self.batch.prompt
        if teacher is None:
            raise ValueError("the base model is kept as a teacher only where losses.noise is guided")
        both = self.networks.empty_prompt.expand(len(prompt)).followed_by(prompt)
        noisy, timesteps = self.noisy.repeat(2, 1, 1, 1), self.timesteps.repeat(2)
        found = predict_noise(self.networks.diffusion, teacher, noisy, timesteps, both)
        unconditional, conditional = found.chunk(2)
        return guidance.guided_noise(unconditional, conditional, self.time, self.config.guidance_scale)

    @property
    def m1(self) -> Tensor:
        """M₁ at latent size, (n, 1, h, w)."""
        return self.batch.m1

    @property
    def m2(self) -> Tensor:
        """M₂ at latent size, (n, 1, h, w)."""
        return self.batch.m2

    @cached_property
    def widened_m1(self) -> Tensor:
        """M₁ at latent size, grown by one cell: the new thing has another outline than the source's, (n, 1, h, w)."""
        return widen_cells(self.batch.m1)

    @cached_property
    def picture(self) -> Tensor:
        """x̂₁ of Eq 6, in [0, 1], (n, 3, H, W)."""
        return clamp_pictures(self.networks.diffusion.decode(predict_clean(self.noisy, self.noise, self.alpha)))

    @cached_property
    def picture_embedding(self) -> Tensor:
        """x̂₁ in CLIP's space, unit length, (n, e)."""
        return self.networks.clip.embed_pictures(self.picture)

    @cached_property
    def region_embedding(self) -> Tensor:
        """x̂₁ ⊙ M₁ in CLIP's space, unit length, (n, e)."""
        return self.networks.clip.embed_pictures(self.picture * self.batch.source_mask)

    @property
    def prompt_embedding(self) -> Tensor:
        """y₂ in CLIP's space, unit length, (n, e)."""
        return self.batch.clip_prompt

    @property
    def diff_embedding(self) -> Tensor:
        """y₂ᵈⁱᶠᶠ in CLIP's space, unit length, (n, e)."""
        return self.batch.clip_diff

    @cached_property
    def region_features(self) -> list[Tensor]:
        """V(x̂₁ ⊙ M₁), one tensor per layer of ``losses.perceptual_layers``."""
        return self.networks.vgg(self.picture * self.batch.source_mask, self.config.perceptual_layers)

    @cached_property
    @torch.no_grad()
    def target_features(self) -> list[Tensor]:
        """V(x₂ ⊙ M₂), one tensor per layer of ``losses.perceptual_layers``."""
        if self.batch.target is None:
            raise ValueError("the target picture is read only where a term of the loss needs it")
        return self.networks.vgg(self.batch.target * self.batch.target_mask, self.config.perceptual_layers)
