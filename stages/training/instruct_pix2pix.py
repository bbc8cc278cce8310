"""InstructPix2Pix (Brooks et al. 2023, section 3.2): the U-Net sees the source next to the noised target."""

from dataclasses import dataclass, replace

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from stages.diffusion.noise import add_noise, alpha_at, squared_error
from stages.diffusion.unet import predict, target_of
from stages.models.latent_diffusion import Diffusion
from stages.training.dataset import Batch
from stages.training.draws import draw_samples


@dataclass(frozen=True, kw_only=True)
class InstructionDraws:
    """The random draws of n samples."""

    timesteps: Tensor  # (n,), 0 … T - 1
    noise: Tensor  # (n, c, h, w)
    without_prompt: Tensor  # (n,), bool
    without_source: Tensor  # (n,), bool


def widen(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Return a copy of a U-Net with twice as many input channels; the new ones take the source's latents.

    The new weights are zero, so the copy begins as the same model, whatever the source.
    """
    weights = unet.state_dict()
    first = weights["conv_in.weight"]
    with first.device:
        wide = UNet2DConditionModel.from_config({**unet.config, "in_channels": 2 * unet.config.in_channels})
    wide.load_state_dict({**weights, "conv_in.weight": torch.cat([first, torch.zeros_like(first)], dim=1)})
    widened: UNet2DConditionModel = wide.eval()
    return widened


class InstructPix2Pix:
    """Trains a whole widened U-Net on Eq 1 of the target's latents, given the source and the prompt."""

    def __init__(self, diffusion: Diffusion, dropout: float) -> None:
        """Widen the base model's U-Net.

        Args:
            diffusion: the base model, which does not change.
            dropout: the share of samples without prompt alone, without both, and without source alone, each; in [0, 1/3].
        """
        self.unet = widen(diffusion.unet)
        self.dropout = dropout
        self._diffusion = replace(diffusion, unet=self.unet)  # the base's U-Net can be freed
        self._alphas = diffusion.scheduler.alphas_cumprod
        self._scale: float = diffusion.vae.config.scaling_factor
        self._empty_prompt = diffusion.embed_prompts([""])

    def blocks(self) -> dict[str, nn.ModuleList]:
        """Return the whole U-Net, which is trained in every step."""
        return {"whole": nn.ModuleList([self.unet])}

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the activations of the U-Net in the backward pass."""
        self.unet.enable_gradient_checkpointing()

    def draw(self, shape: torch.Size, seed: int, numbers: list[int]) -> InstructionDraws:
        """Return the random draws of some samples."""
        timesteps, noise, (chance, _) = draw_samples(shape, len(self._alphas), seed, numbers)
        without_source = (chance >= self.dropout) & (chance < 3 * self.dropout)
        return InstructionDraws(
            timesteps=timesteps, noise=noise, without_prompt=chance < 2 * self.dropout, without_source=without_source
        )

    def losses(self, network: nn.Module, batch: Batch, draws: InstructionDraws, /) -> dict[str, Tensor]:
        """Return ``raw/noise``, the squared error of the predicted noise, and ``total``, which is the same; (n,), in fp32.

        A model that predicts the velocity learns that, as it did before; both are then the squared error of the velocity.

        As in diffusers' training script and pipeline, the source's latents are not scaled; a dropped source is all zeros.
        """
        timesteps, noise = draws.timesteps.to(batch.z2.device), draws.noise.to(batch.z2)
        without_prompt, without_source = (part.to(batch.z2.device) for part in (draws.without_prompt, draws.without_source))
        alpha = alpha_at(self._alphas, timesteps)
        noisy = add_noise(batch.z2, noise, alpha)
        source = (batch.z1 / self._scale).masked_fill(without_source.view(-1, 1, 1, 1), 0)
        prompt = self._empty_prompt.where(without_prompt, batch.prompt)
        predicted = predict(self._diffusion, network, torch.cat([noisy, source], dim=1), timesteps, prompt)
        error = squared_error(predicted, target_of(self._diffusion, batch.z2, noise, alpha))
        return {"raw/noise": error.detach(), "total": error}
