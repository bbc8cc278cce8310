"""iEdit (section 3.3 and 3.4): the losses of a batch, from the noised source to Eq 12."""

import copy
from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from stages.core.params_training import Losses, Trainable
from stages.diffusion.losses import TERM_NAMES, active_terms, min_snr_weight, total_loss
from stages.diffusion.noise import add_noise, alpha_at, squared_error
from stages.diffusion.unet import predict_noise
from stages.models.clip import Clip
from stages.models.latent_diffusion import Diffusion
from stages.models.lora import add_lora, lora_layers
from stages.models.vgg import Vgg
from stages.training.dataset import Batch
from stages.training.draws import draw_samples
from stages.training.prediction import EditPrediction, Networks


@dataclass(frozen=True, kw_only=True)
class EditDraws:
    """The random draws of n samples."""

    timesteps: Tensor  # (n,), 0 … T - 1
    noise: Tensor  # ε₁, (n, c, h, w)
    without_prompt: Tensor  # (n,), bool: trained on Eq 1 with the empty prompt
    chance: Tensor  # (n,), uniform in [0, 1): a sample is decoded if it is below ``losses.picture_share``


class IEdit:
    """Trains the U-Net on Eq 12: its input and middle blocks in turn (section 4.1), all of it, or a LoRA."""

    def __init__(
        self,
        diffusion: Diffusion,
        clip: Clip,
        vgg: Vgg,
        config: Losses,
        dropout: float,
        parameters: Trainable = "blocks",
        *,
        lora_rank: int = 1,
        seed: int = 0,
    ) -> None:
        """Keep the base model as it is now for the loss L_guided; its U-Net is the one to train, and may get a LoRA for that.

        Args:
            diffusion: the base model.
            clip: judges the edited picture against the prompt.
            vgg: compares the edited picture with the target.
            config: the terms of Eq 12 that are on, and their settings.
            dropout: the share of samples without a prompt, in [0, 1].
            parameters: what of the U-Net is trained.
            lora_rank: the rank of the LoRA; not used unless one is trained.
            seed: the seed of the LoRA's initial weights.
        """
        self.unet: UNet2DConditionModel = diffusion.unet
        self.config, self.dropout, self.parameters = config, dropout, parameters
        teacher = self._copy_to_keep() if config.noise == "guided" else None
        self.networks = Networks(
            diffusion=diffusion, clip=clip, vgg=vgg, teacher=teacher, empty_prompt=diffusion.embed_prompts([""])
        )
        self._alphas = diffusion.scheduler.alphas_cumprod
        if parameters == "lora":  # after the teacher was made, which has none
            add_lora(self.unet, lora_rank, seed)

    def blocks(self) -> dict[str, nn.ModuleList]:
        """Return its parts: a LoRA, the whole, or input and middle blocks, without time embedding, up blocks and conv_out."""
        if self.parameters == "lora":
            return {"lora": lora_layers(self.unet)}
        if self.parameters == "all":
            return {"whole": nn.ModuleList([self.unet])}
        return {
            "input": nn.ModuleList([self.unet.conv_in, self.unet.down_blocks]),
            "middle": nn.ModuleList([self.unet.mid_block]),
        }

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the activations of the U-Net and of the decoder in the backward pass."""
        self.unet.enable_gradient_checkpointing()
        self.networks.diffusion.vae.enable_gradient_checkpointing()

    def draw(self, shape: torch.Size, seed: int, numbers: list[int]) -> EditDraws:
        """Return the random draws of some samples."""
        timesteps, noise, (dropping, chance) = draw_samples(shape, len(self._alphas), seed, numbers)
        return EditDraws(timesteps=timesteps, noise=noise, without_prompt=dropping < self.dropout, chance=chance)

    def losses(self, network: nn.Module, batch: Batch, draws: EditDraws, /) -> dict[str, Tensor]:
        """Return every term by name, (n,) each, in fp32.

        Keys: ``raw/NAME`` for the terms of Eq 12, and ``weighted/NAME`` for what they add to ``total``;
        ``weighted/unconditional`` for the loss of the samples without prompt, which they have instead; and the shares of
        the latent where Eq 9 has two targets (``share/both``) or none (``share/none``).
        """
        dropped = draws.without_prompt.to(batch.z1.device)
        edit = self._predict(network, batch, draws)
        raw = self._raw_losses(edit, draws)
        weighted, total = total_loss(raw, edit.time, edit.snr, self.config)
        # Without a prompt the edit is unknown: such samples only keep the unconditional prediction as good as it was.
        plain = min_snr_weight(edit.snr, self.config.min_snr) * squared_error(edit.noise, edit.source_noise)
        weighted = {name: value.masked_fill(dropped, 0) for name, value in weighted.items()}
        weighted["unconditional"] = plain.masked_fill(~dropped, 0)
        return {
            **{f"raw/{name}": value.detach() for name, value in raw.items()},
            **{f"weighted/{name}": value.detach() for name, value in weighted.items()},
            "share/both": (batch.m2 * (1 - batch.m1)).flatten(1).mean(dim=1),
            "share/none": (batch.m1 * (1 - batch.m2)).flatten(1).mean(dim=1),
            "total": torch.where(dropped, plain, total),
        }

    def _copy_to_keep(self) -> UNet2DConditionModel:
        """Return a copy of the U-Net as it is now, which shares the weights that no step changes."""
        trained = {id(weight) for block in self.blocks().values() for weight in block.parameters()}
        shared = {id(weight): weight for weight in self.unet.parameters() if id(weight) not in trained}
        return copy.deepcopy(self.unet, shared).requires_grad_(False)

    def _predict(self, network: nn.Module, batch: Batch, draws: EditDraws) -> EditPrediction:
        """Noise the source (Eq 2) and predict the noise, with the empty prompt where the prompt is dropped."""
        timesteps, noise = draws.timesteps.to(batch.z1.device), draws.noise.to(batch.z1)
        dropped = draws.without_prompt.to(batch.z1.device)
        alpha = alpha_at(self._alphas, timesteps)
        noisy = add_noise(batch.z1, noise, alpha)
        prompt = self.networks.empty_prompt.where(dropped, batch.prompt)
        return EditPrediction(
            networks=self.networks,
            config=self.config,
            batch=batch,
            timesteps=timesteps,
            alpha=alpha,
            source_noise=noise,
            noisy=noisy,
            noise=predict_noise(self.networks.diffusion, network, noisy, timesteps, prompt),
        )

    def _raw_losses(self, edit: EditPrediction, draws: EditDraws) -> dict[str, Tensor]:
        """Return the loss of every term of Eq 12 by name, (n,) each; zero for a term that is off.

        The terms on the picture are computed for a random share of the samples only, because decoding costs most.
        Dividing them by that share keeps their expected gradient that of decoding every sample.
        """
        zero = torch.zeros(len(edit.noise), device=edit.noise.device)
        terms = active_terms(self.config)
        on_noise = {term.name: term.loss(edit) for term in terms if not term.needs_picture}
        raw = on_noise | {name: zero for name in TERM_NAMES if name not in on_noise}
        # Found on the CPU, where the draws are: asking the device would make the host wait for it.
        decoded = ~draws.without_prompt & (draws.chance < self.config.picture_share)
        # In a fixed order, because the last bit of their summed gradient depends on it.
        on_picture = sorted((term for term in terms if term.needs_picture), key=lambda term: term.name)
        if on_picture and decoded.any():
            rows = decoded.nonzero().flatten().to(zero.device)
            shown = edit.select(rows)
            for term in on_picture:
                loss = term.loss(shown).float() / self.config.picture_share
                raw[term.name] = zero.index_put((rows,), loss)
        return raw
