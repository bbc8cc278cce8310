"""The losses of one batch: from noise and a prediction to Eq 12."""

import copy
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from stages.common.seeds import derive_seed
from stages.core.params import Losses
from stages.diffusion import losses
from stages.diffusion.masks import widen_cells
from stages.diffusion.noise import add_noise, alpha_at, noise_towards, predict_clean, time_share
from stages.models.clip import Clip
from stages.models.latent_diffusion import Diffusion
from stages.models.vgg import Vgg
from stages.training.dataset import Batch


@dataclass(frozen=True, kw_only=True)
class Draws:
    """What is random in a batch of n samples."""

    timesteps: Tensor  # (n,), 0 … T - 1
    noise: Tensor  # e1, (n, c, h, w)
    unconditional: Tensor  # (n,), bool: trained without prompt
    chance: Tensor  # (n,), uniform in [0, 1): below the share of the samples whose picture is looked at, it is


def draw(shape: torch.Size, total: int, unconditional: float, seed: int, numbers: list[int]) -> Draws:
    """Return the random parts of samples ``numbers``; each depends on its number alone, not on the batch it is in."""
    timesteps, noise, (dropping, looking) = draw_samples(shape, total, seed, numbers)
    return Draws(timesteps=timesteps, noise=noise, unconditional=dropping < unconditional, chance=looking)


def draw_samples(shape: torch.Size, total: int, seed: int, numbers: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Return timesteps (n,), noise (n, *shape) and two uniform numbers in [0, 1), (2, n), of the samples ``numbers``."""
    timesteps, noise, chances = [], [], []
    for number in numbers:
        generator = torch.Generator().manual_seed(derive_seed(seed, "draw", number))
        timesteps.append(torch.randint(total, (), generator=generator))
        noise.append(torch.randn(shape, generator=generator))
        chances.append(torch.rand(2, generator=generator))
    return torch.stack(timesteps), torch.stack(noise), torch.stack(chances, dim=1)


@dataclass(frozen=True, kw_only=True)
class State:
    """Noised sources."""

    noisy: Tensor  # z_t, (n, c, h, w)
    noise: Tensor  # e1, (n, c, h, w)
    timesteps: Tensor  # (n,)
    alpha: Tensor  # (n, 1, 1, 1)


class Objective:
    """Computes raw and weighted losses of a batch; holds the frozen networks that they need."""

    def __init__(self, diffusion: Diffusion, clip: Clip, vgg: Vgg, config: Losses) -> None:
        self.diffusion, self.clip, self.vgg, self.config = diffusion, clip, vgg, config
        self.alphas = diffusion.scheduler.alphas_cumprod
        self.empty_text = diffusion.embed_prompts([""])
        # As it is now: what is trained may be the same U-Net.
        self.teacher = copy.deepcopy(diffusion.unet).requires_grad_(False) if config.noise == "guided" else None

    def __call__(self, unet: nn.Module, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Return every term by name, (n,) each, in fp32.

        Keys: ``raw/NAME`` for the terms of Eq 12, those on the picture as ``_picture_losses`` takes them;
        ``weighted/NAME`` for what they add to ``total``, which is to be minimised, and ``weighted/unconditional`` for what
        samples without prompt add instead; and the shares of the latent where Eq 9 with the masks of the pair has two
        targets (``share/both``) or none (``share/none``).
        """
        timesteps = draws.timesteps.to(batch.z1.device)
        source_noise = draws.noise.to(batch.z1)
        dropped = draws.unconditional.to(batch.z1.device)
        alpha = alpha_at(self.alphas, timesteps)
        noisy = add_noise(batch.z1, source_noise, alpha)
        text = torch.where(dropped.view(-1, 1, 1), self.empty_text, batch.text)
        predicted = unet(noisy, timesteps, text, return_dict=False)[0].float()

        time = time_share(timesteps, len(self.alphas))
        looked_at = ~dropped & (draws.chance.to(dropped.device) < self.config.picture_share)
        state = State(noisy=noisy, noise=source_noise, timesteps=timesteps, alpha=alpha)
        raw = {
            "noise": self._noise_loss(predicted, state, batch),
            **self._picture_losses(predict_clean(noisy, predicted, alpha), batch, looked_at),
        }
        weighted = losses.total_loss(**raw, time=time, perceptual_weight=self.config.perceptual_weight)
        # A sample without prompt cannot know the edit: it only keeps the model's own unconditional prediction alive.
        plain = losses.squared_error(predicted, source_noise)
        total = torch.where(dropped, plain, weighted.pop("total"))
        weighted = {name: value.masked_fill(dropped, 0) for name, value in weighted.items()}
        weighted["unconditional"] = plain.masked_fill(~dropped, 0)
        return {
            **{f"raw/{name}": value.detach() for name, value in raw.items()},
            **{f"weighted/{name}": value.detach() for name, value in weighted.items()},
            "share/both": (batch.m2 * (1 - batch.m1)).flatten(1).mean(dim=1),
            "share/none": (batch.m1 * (1 - batch.m2)).flatten(1).mean(dim=1),
            "total": total,
        }

    def _noise_loss(self, predicted: Tensor, state: State, batch: Batch) -> Tensor:
        """Return the error of the predicted noise (n,), as ``noise`` of the configuration says."""
        match self.config.noise:
            case "ldm":
                return losses.squared_error(predicted, state.noise)
            case "paired":
                return losses.squared_error(predicted, noise_towards(state.noisy, batch.z2, state.alpha))
            case "mask":
                target_noise = noise_towards(state.noisy, batch.z2, state.alpha)
                return losses.masked_noise_loss(predicted, state.noise, target_noise, batch.m1, batch.m2)
            case "guided":
                around = widen_cells(batch.m1)  # what takes the thing's place has another outline
                return losses.masked_noise_loss(predicted, state.noise, self._guided_noise(state, batch.text), around, around)

    @torch.no_grad()
    def _guided_noise(self, state: State, text: Tensor) -> Tensor:
        """Return what the base model predicts of the same state under classifier-free guidance by the prompt.

        The scale falls with the noise, from ``guidance_scale`` at t = T to 1 at t = 0, by the weight that Eq 12 gives to the
        noise: where little of it is left the prompt has had its say, and guidance only makes the picture harsher
        (Kynkäänniemi et al. 2024, "Applying guidance in a limited interval").
        """
        assert self.teacher is not None  # of a guided loss it is there
        both = torch.cat([self.empty_text.expand_as(text), text])
        found = self.teacher(state.noisy.repeat(2, 1, 1, 1), state.timesteps.repeat(2), both, return_dict=False)[0]
        unconditional, conditional = found.float().chunk(2)
        time = time_share(state.timesteps, len(self.alphas)).view(-1, 1, 1, 1)
        scale = 1 + (self.config.guidance_scale - 1) * time
        return unconditional + scale * (conditional - unconditional)

    def _picture_losses(self, clean: Tensor, batch: Batch, looked_at: Tensor) -> dict[str, Tensor]:
        """Return the losses that need the decoded picture (Eq 6), zero where they are off.

        They are taken of the samples ``looked_at``, (n,), bool, times the inverse of these samples' expected share: what
        the others lack is made up for, so that the expected gradient is that of looking at all.
        """
        config, zero = self.config, torch.zeros(len(clean), device=clean.device)
        found = {"local_clip": zero, "global_clip": zero, "perceptual": zero}
        if not (config.local_clip or config.global_clip or config.perceptual) or not looked_at.any():
            return found
        shown = Batch(**{field.name: getattr(batch, field.name)[looked_at] for field in fields(Batch)})
        terms = self._terms_of_pictures(losses.clamp_pictures(self.diffusion.decode(clean[looked_at])), shown)
        scattered = {name: zero.index_put((looked_at,), value.float() / config.picture_share) for name, value in terms.items()}
        return found | scattered

    def _terms_of_pictures(self, picture: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return Eq 5, 10 and 11, as far as they are on, of pictures in [0, 1]."""
        found = {}
        if self.config.global_clip:
            found["global_clip"] = losses.clip_distance(self.clip.embed_pictures(picture), batch.clip_prompt)
        if self.config.local_clip:
            region = self.clip.embed_pictures(picture * batch.source_mask)
            found["local_clip"] = losses.clip_distance(region, batch.clip_diff)
        if self.config.perceptual:
            layers = self.config.perceptual_layers
            with torch.no_grad():
                wanted = self.vgg(batch.target * batch.target_mask, layers)
            found["perceptual"] = losses.perceptual_loss(self.vgg(picture * batch.source_mask, layers), wanted)
        return found
