"""InstructPix2Pix (Brooks et al. 2023, section 3.2): the U-Net sees the source beside what it denoises to the target."""

from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from stages.diffusion.losses import squared_error
from stages.diffusion.noise import add_noise, alpha_at
from stages.models.latent_diffusion import Diffusion
from stages.training.dataset import Batch
from stages.training.iedit import draw_samples


@dataclass(frozen=True, kw_only=True)
class Draws:
    """What is random in a batch of n samples."""

    timesteps: Tensor  # (n,), 0 … T - 1
    noise: Tensor  # (n, c, h, w)
    without_prompt: Tensor  # (n,), bool
    without_source: Tensor  # (n,), bool


def draw(shape: torch.Size, total: int, dropout: float, seed: int, numbers: list[int]) -> Draws:
    """Return the random parts of samples ``numbers``; each depends on its number alone, not on the batch it is in.

    Args:
        shape: of a sample's noise.
        total: timesteps.
        dropout: the share of the samples that lack their prompt alone, of those that lack both, and of those that lack
            their source alone.
        seed: of the training.
        numbers: of the samples.
    """
    timesteps, noise, (chance, _) = draw_samples(shape, total, seed, numbers)
    without_source = (chance >= dropout) & (chance < 3 * dropout)
    return Draws(timesteps=timesteps, noise=noise, without_prompt=chance < 2 * dropout, without_source=without_source)


def widen(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Return a copy of a U-Net with as many input channels again, for the source's latents.

    Their weights are zero, so that it begins as the model it is a copy of, whatever the source.
    """
    wide = UNet2DConditionModel.from_config({**unet.config, "in_channels": 2 * unet.config.in_channels})
    weights = unet.state_dict()
    first = weights["conv_in.weight"]
    wide.load_state_dict({**weights, "conv_in.weight": torch.cat([first, torch.zeros_like(first)], dim=1)})
    widened: UNet2DConditionModel = wide.to(first.device).eval()
    return widened


def whole(unet: UNet2DConditionModel) -> dict[str, nn.ModuleList]:
    """Return what is trained: all of the U-Net, in every step."""
    return {"whole": nn.ModuleList([unet])}


class Objective:
    """The loss of InstructPix2Pix: the error of the noise in the target's latents, given the source and the prompt."""

    def __init__(self, diffusion: Diffusion) -> None:
        self.diffusion = diffusion
        self.alphas = diffusion.scheduler.alphas_cumprod
        self.empty_text = diffusion.embed_prompts([""])

    def __call__(self, unet: nn.Module, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Return ``raw/noise``, and ``total``, which is the same; (n,) each, in fp32.

        The source is not scaled, as in diffusers' training script and pipeline; where it is left out there are zeros.
        """
        timesteps, noise = draws.timesteps.to(batch.z2.device), draws.noise.to(batch.z2)
        without_prompt, without_source = (part.to(batch.z2.device) for part in (draws.without_prompt, draws.without_source))
        noisy = add_noise(batch.z2, noise, alpha_at(self.alphas, timesteps))
        source = batch.z1 / self.diffusion.vae.config.scaling_factor
        source = source.masked_fill(without_source.view(-1, 1, 1, 1), 0)
        text = torch.where(without_prompt.view(-1, 1, 1), self.empty_text, batch.text)
        predicted = unet(torch.cat([noisy, source], dim=1), timesteps, text, return_dict=False)[0]
        error = squared_error(predicted, noise)
        return {"raw/noise": error.detach(), "total": error}
