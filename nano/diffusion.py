"""Train the U-Net of the latent diffusion model on pictures and their alt texts, and write it as a diffusers pipeline.

As Stable Diffusion, it knows its pictures by what the web writes beside them; no caption of the world is shown to it. As
there, the text encoder was trained before and stays as it is. So that some thousand steps are enough, the U-Net learns besides
what the captioner's vision tower sees in the picture without noise (REPA, Yu et al. 2024); no words come from there.
"""

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from nano.encoded_pictures import CUT_OUTS, load_encoded_pictures, load_vae
from nano.fit import draw_rows, fit, halve
from nano.scenes import load_scenes
from nano.settings import read_settings, read_training
from nano.text_encoder import FOLDER as TEXT_ENCODER
from nano.text_encoder import TOKENIZER, WIDTH, describe, token_ids
from nano.vae import FOLDER as VAE_FOLDER
from stages.models.tensors import device

FOLDER = VAE_FOLDER.parent
# Shares of the training samples; the rest are scenes with an alt text.
CUT_OUT_SHARE = 0.25  # an object on a plain colour, as shops show it, so that objects are learnt apart from places
UNCONDITIONAL_SHARE = 0.08  # a scene without words, for classifier-free guidance
SNR_CAP = 5.0
ALIGNMENT_WEIGHT = 1.0  # REPA has 0.5; after 1,200 steps 1 was better


def build(channels: int, latent_size: int) -> UNet2DConditionModel:
    """Return an untrained U-Net for latents (channels, latent_size, latent_size)."""
    return UNet2DConditionModel(
        sample_size=latent_size,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(64, 128, 192),
        layers_per_block=1,
        # Attention over the 16 x 16 latents would take half of a step's time; there the text enters with the time.
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
        resnet_time_scale_shift="scale_shift",  # time and text scale the features too (Dhariwal and Nichol 2021)
        attention_head_dim=4,
        norm_num_groups=8,
    )


class Aligned(nn.Module):
    """A U-Net, and a head that predicts features of the picture from what the U-Net knows of each 8th of its sides."""

    def __init__(self, unet: UNet2DConditionModel, features: int) -> None:
        """Add an untrained head to a U-Net.

        Args:
            unet: the U-Net.
            features: the number of features that the head predicts of each of the 8 x 8 places.
        """
        super().__init__()
        self.unet = unet
        self.head = nn.Sequential(nn.Linear(128, 256), nn.SiLU(), nn.Linear(256, features))

    def forward(self, noisy: Tensor, times: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Return the U-Net's prediction, (n, channels, size, size), and the features, (n, places, features)."""
        hidden: list[Tensor] = []
        layer = self.unet.up_blocks[1].attentions[0]
        hook = layer.register_forward_hook(lambda _, __, output: hidden.append(output[0]))
        predicted: Tensor = self.unet(noisy, times, embeddings).sample
        hook.remove()
        return predicted, self.head(hidden[0].flatten(2).transpose(1, 2))


def stable_diffusion_scheduler() -> DDIMScheduler:
    """Return DDIM with the noise schedule of Stable Diffusion, for a model that predicts the velocity, as version 2.1 does.

    At the noisiest timesteps, where a text decides what the picture shows, the noise is nearly the input and the velocity
    nearly the picture. So a model of the velocity learns faster: its loss after 800 steps is that of a model of the noise
    after 2,000.
    """
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",
    )


def weigh(alphas: Tensor) -> Tensor:
    """Return the weight of the velocity's squared error at each timestep, (T,): min(SNR + 1, cap) / (SNR + 1).

    A squared error of the velocity is one of the picture times SNR + 1 (Salimans and Ho 2022); here that is capped
    (min-SNR, Hang et al. 2023).
    """
    snr = alphas / (1 - alphas)
    return (snr + 1).clamp(max=SNR_CAP) / (snr + 1)


def main() -> None:
    """Train, and write the pipeline."""
    torch.set_default_device(device())
    settings, training = read_settings(), read_training("diffusion")
    scenes, known = load_scenes("train", settings["reduced_size"]), load_encoded_pictures()
    tokenizer = CLIPTokenizer.from_pretrained(TOKENIZER)
    text_encoder = CLIPTextModel.from_pretrained(TEXT_ENCODER, dtype=torch.float32).eval().requires_grad_(False)
    scheduler = stable_diffusion_scheduler()
    torch.manual_seed(settings["seed"])
    model = Aligned(build(*known.latents.shape[1:3]), known.features.shape[-1])
    weights = weigh(scheduler.alphas_cumprod)
    timesteps = scheduler.config.num_train_timesteps

    def loss_of(generator: torch.Generator) -> Tensor:
        rows = draw_rows(len(scenes.captions), training.batch, generator)
        kinds = torch.rand(training.batch, generator=generator)
        seeds = torch.randint(2**62, (training.batch,), generator=generator)
        alone = kinds < CUT_OUT_SHARE
        rows = torch.where(alone, rows % CUT_OUTS, rows)
        pictures = torch.where(alone, len(scenes.captions) + rows, rows)
        texts = describe(scenes, rows, alone, seeds)
        texts = ["" if kind >= 1 - UNCONDITIONAL_SHARE else text for text, kind in zip(texts, kinds.tolist(), strict=True)]
        embeddings = text_encoder(token_ids(tokenizer, texts)).last_hidden_state
        # One timestep from each of as many equal parts as the batch has samples: less variance (Kingma et al. 2021).
        places = (torch.arange(training.batch) + torch.rand(training.batch, generator=generator)) / training.batch
        times = (places * timesteps).long().clamp(max=timesteps - 1)
        clean = known.latents[pictures]
        noise = torch.randn(clean.shape, generator=generator)
        noisy = scheduler.add_noise(clean, noise, times).to(memory_format=torch.channels_last)  # the faster layout in bf16
        velocity, features = model(noisy, times, embeddings)
        error = (velocity.float() - scheduler.get_velocity(clean, noise, times)).square().mean(dim=(1, 2, 3))
        likeness = nn.functional.cosine_similarity(features.float(), known.features[pictures].float(), dim=-1)
        return (error * weights[times]).mean() + ALIGNMENT_WEIGHT * (1 - likeness).mean()

    fit("diffusion", model, loss_of, training, settings["seed"])
    StableDiffusionPipeline(
        vae=load_vae(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=model.unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(FOLDER)
    for part in ("unet/diffusion_pytorch_model", "text_encoder/model", "vae/diffusion_pytorch_model"):
        halve(FOLDER / f"{part}.safetensors")


if __name__ == "__main__":
    main()
