"""Train the text encoder and the U-Net of the latent diffusion model, and write it as a diffusers pipeline."""

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn
from tqdm import tqdm
from transformers import CLIPTextConfig, CLIPTextModel

from nano.fit import draw_rows, fit, halve
from nano.scenes import Scenes, load_scenes
from nano.settings import read_settings, read_training
from nano.tokenizers import CONTEXT, clip_tokenizer
from nano.vae import FOLDER as VAE_FOLDER

FOLDER = VAE_FOLDER.parent
UNCONDITIONAL_SHARE = 0.1  # of the samples are trained without their caption, for classifier-free guidance
SNR_CAP = 5.0


class TextToLatent(nn.Module):
    """The trained parts together: the text encoder and the U-Net."""

    def __init__(self, vocabulary: int, bos: int, eos: int, latent_size: int) -> None:
        super().__init__()
        config = CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=CONTEXT,
            bos_token_id=bos,
            eos_token_id=eos,
            pad_token_id=eos,
        )
        self.text_encoder = CLIPTextModel(config)
        self.unet = UNet2DConditionModel(
            sample_size=latent_size,
            in_channels=8,
            out_channels=8,
            block_out_channels=(64, 128, 192),
            layers_per_block=1,
            # Attention over the 16 x 16 latents would cost half of a step; there the words come in with the time.
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=128,
            addition_embed_type="text",
            addition_embed_type_num_heads=4,
            attention_head_dim=4,
            norm_num_groups=8,
        )


def stable_diffusion_scheduler() -> DDIMScheduler:
    """Return DDIM with the noise schedule of Stable Diffusion."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def weigh(alphas: Tensor) -> Tensor:
    """Return how much the error of the predicted noise counts at each timestep, (T,).

    In terms of the picture, as SNR + 1 (Salimans and Ho 2022) but no more than a cap (min-SNR, Hang et al. 2023). Plain
    errors of the noise would all but ignore the noisiest timesteps, where is decided what the picture shows.
    """
    snr = alphas / (1 - alphas)
    return (snr + 1).clamp(max=SNR_CAP) / snr


@torch.no_grad()
def encode(vae: AutoencoderKL, scenes: Scenes) -> Tensor:
    """Return the scaled latents of all pictures, (n, 8, size / 4, size / 4)."""
    parts = tqdm(torch.arange(len(scenes.captions)).split(64), desc="latents", unit="batch", mininterval=5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        means = [vae.encode(scenes.pictures(rows) * 2 - 1).latent_dist.mean.float() for rows in parts]
    return torch.cat(means) * vae.config.scaling_factor


def main() -> None:
    """Encode all pictures once, train, and write the pipeline."""
    settings, training = read_settings(), read_training("diffusion")
    torch.set_num_threads(training.threads)
    scenes = load_scenes("train")
    vae = AutoencoderKL.from_pretrained(VAE_FOLDER)
    tokenizer = clip_tokenizer()
    scheduler = stable_diffusion_scheduler()
    latents = encode(vae, scenes)
    torch.manual_seed(settings["seed"])
    model = TextToLatent(len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id, latents.shape[-1])
    model.unet.to(memory_format=torch.channels_last)
    weights = weigh(scheduler.alphas_cumprod)

    def loss_of(generator: torch.Generator) -> Tensor:
        rows = draw_rows(len(latents), training.batch, generator)
        dropped = torch.rand(training.batch, generator=generator) < UNCONDITIONAL_SHARE
        bare = torch.rand(training.batch, generator=generator) < 0.1
        texts = [scenes.subjects[row] if short else scenes.captions[row] for row, short in zip(rows, bare, strict=True)]
        texts = ["" if drop else text for text, drop in zip(texts, dropped, strict=True)]
        words = tokenizer(texts, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt")
        times = torch.randint(scheduler.config.num_train_timesteps, (training.batch,), generator=generator)
        noise = torch.randn(latents[rows].shape, generator=generator)
        noisy = scheduler.add_noise(latents[rows], noise, times).contiguous(memory_format=torch.channels_last)
        embeddings = model.text_encoder(words.input_ids).last_hidden_state
        predicted = model.unet(noisy, times, embeddings).sample.float()
        return ((predicted - noise).square().mean(dim=(1, 2, 3)) * weights[times]).mean()

    fit("diffusion", model, loss_of, training, settings["seed"])
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=model.text_encoder,
        tokenizer=tokenizer,
        unet=model.unet.to(memory_format=torch.contiguous_format),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(FOLDER)
    halve(FOLDER / "unet" / "diffusion_pytorch_model.safetensors")
    halve(FOLDER / "text_encoder" / "model.safetensors")
    halve(FOLDER / "vae" / "diffusion_pytorch_model.safetensors")


if __name__ == "__main__":
    main()
