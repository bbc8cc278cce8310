"""Train the text encoder and the U-Net of the latent diffusion model, and write it as a diffusers pipeline."""

from collections.abc import Callable

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_model
from torch import Tensor, nn
from tqdm import tqdm
from transformers import CLIPTextConfig, CLIPTextModel

from nano.fit import draw_rows, fit, halve
from nano.scenes import Scenes, cut_out, load_scenes
from nano.settings import read_settings, read_training
from nano.tokenization import CONTEXT, clip_tokenizer
from nano.vae import FOLDER as VAE_FOLDER
from stages.common.seeds import derive_seed
from stages.corpus import world

FOLDER = VAE_FOLDER.parent
# Shares of the training samples; the rest are scenes with their captions.
CUT_OUT_SHARE = 0.2  # an object on a plain colour, so that objects are learnt apart from places
BARE_SHARE = 0.08  # a scene described by its subject alone
UNCONDITIONAL_SHARE = 0.08  # a scene without words, for classifier-free guidance
CUT_OUTS = 16000  # the first scenes, whose objects are cut out
SNR_CAP = 5.0


class TextToLatent(nn.Module):
    """The two trained parts: the text encoder and the U-Net."""

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
            # Attention over the 16 x 16 latents would take half of a step's time; there the text enters with the time.
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
    """Return the weight of the noise prediction's squared error at each timestep, (T,).

    As an error of the picture it is weighted by SNR + 1 (Salimans and Ho 2022), capped (min-SNR, Hang et al. 2023). The
    plain error of the noise would all but ignore the noisiest timesteps, which decide what the picture shows.
    """
    snr = alphas / (1 - alphas)
    return (snr + 1).clamp(max=SNR_CAP) / snr


@torch.no_grad()
def encode(vae: AutoencoderKL, rows: Tensor, pictures_of: Callable[[Tensor], Tensor], precision: str) -> Tensor:
    """Return scaled latents (len(rows), 8, size / 4, size / 4) of the rows' pictures in [0, 1]."""
    parts = tqdm(rows.split(64), desc="latents", unit="batch", mininterval=5)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        means = [vae.encode(pictures_of(part) * 2 - 1).latent_dist.mean.float() for part in parts]
    return torch.cat(means) * vae.config.scaling_factor


def describe(scenes: Scenes, row: int, kind: float) -> str:
    """Return a sample's text; ``kind`` in [0, 1) chooses among the shares above."""
    if kind < CUT_OUT_SHARE:
        return f"{world.with_article(scenes.subjects[row])} on a plain background"
    if kind < CUT_OUT_SHARE + BARE_SHARE:
        return scenes.subjects[row]
    if kind < CUT_OUT_SHARE + BARE_SHARE + UNCONDITIONAL_SHARE:
        return ""
    return scenes.captions[row]


def main() -> None:
    """Encode all pictures once, train, and write the pipeline."""
    settings, training = read_settings(), read_training("diffusion")
    torch.set_num_threads(training.threads)
    scenes = load_scenes("train")
    # Not from_pretrained, which writes this machine's path into the model's configuration.
    vae = AutoencoderKL.from_config(AutoencoderKL.load_config(VAE_FOLDER)).eval()
    load_model(vae, VAE_FOLDER / "diffusion_pytorch_model.safetensors")
    tokenizer = clip_tokenizer()
    scheduler = stable_diffusion_scheduler()
    whole = torch.arange(len(scenes.captions))
    latents = encode(vae, whole, scenes.pictures, training.precision)
    grounds = torch.Generator().manual_seed(derive_seed(settings["seed"], "diffusion", "grounds"))
    cut_latents = encode(
        vae,
        whole[:CUT_OUTS],
        lambda rows: cut_out(scenes.pictures(rows), scenes.masks(rows), 1.0, grounds)[0],
        training.precision,
    )
    torch.manual_seed(settings["seed"])
    model = TextToLatent(len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id, latents.shape[-1])
    model.unet.to(memory_format=torch.channels_last)
    weights = weigh(scheduler.alphas_cumprod)

    def loss_of(generator: torch.Generator) -> Tensor:
        rows = draw_rows(len(latents), training.batch, generator)
        kinds = torch.rand(training.batch, generator=generator)
        cut = kinds < CUT_OUT_SHARE
        rows = torch.where(cut, rows % CUT_OUTS, rows)
        clean = torch.where(cut.view(-1, 1, 1, 1), cut_latents[rows % CUT_OUTS], latents[rows])
        texts = [describe(scenes, row, kind) for row, kind in zip(rows.tolist(), kinds.tolist(), strict=True)]
        words = tokenizer(texts, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt")
        times = torch.randint(scheduler.config.num_train_timesteps, (training.batch,), generator=generator)
        noise = torch.randn(clean.shape, generator=generator)
        noisy = scheduler.add_noise(clean, noise, times).contiguous(memory_format=torch.channels_last)
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
