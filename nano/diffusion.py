"""Train the text encoder and the U-Net of the latent diffusion model on alt texts, and write it as a diffusers pipeline.

As Stable Diffusion, it knows its pictures by what the web writes beside them; no caption of the world is shown to it.
"""

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from nano.fit import draw_rows, fit, halve
from nano.latents import CUT_OUTS, load_latents, load_vae
from nano.scenes import Scenes, load_scenes
from nano.settings import read_settings, read_training
from nano.tokenization import CONTEXT, clip_tokenizer, world_words
from nano.vae import FOLDER as VAE_FOLDER
from stages.corpus import alt_texts
from stages.corpus.alt_texts import CUT_OUT_PLACE, alt_text
from stages.models.tensors import device

FOLDER = VAE_FOLDER.parent
# Shares of the training samples; the rest are scenes. All have alt texts.
CUT_OUT_SHARE = 0.25  # an object on a plain colour, as shops show it, so that objects are learnt apart from places
UNCONDITIONAL_SHARE = 0.08  # a scene without words, for classifier-free guidance
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


def describe(scenes: Scenes, row: int, kind: float, seed: int) -> str:
    """Return a sample's text; ``kind`` in [0, 1) chooses among the shares above, ``seed`` among alt texts."""
    if kind >= 1 - UNCONDITIONAL_SHARE:
        return ""
    place = CUT_OUT_PLACE if kind < CUT_OUT_SHARE else scenes.sceneries[row]
    return alt_text(scenes.nouns[row], scenes.subjects[row], place, seed)


def main() -> None:
    """Train, and write the pipeline."""
    torch.set_default_device(device())
    settings, training = read_settings(), read_training("diffusion")
    scenes, latents = load_scenes("train"), load_latents()
    tokenizer = clip_tokenizer({*world_words(), *alt_texts.words()})
    scheduler = stable_diffusion_scheduler()
    torch.manual_seed(settings["seed"])
    model = TextToLatent(len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id, latents.whole.shape[-1])
    weights = weigh(scheduler.alphas_cumprod)
    timesteps = scheduler.config.num_train_timesteps

    def loss_of(generator: torch.Generator) -> Tensor:
        rows = draw_rows(len(latents.whole), training.batch, generator)
        kinds = torch.rand(training.batch, generator=generator)
        seeds = torch.randint(2**62, (training.batch,), generator=generator)
        cut = kinds < CUT_OUT_SHARE
        rows = torch.where(cut, rows % CUT_OUTS, rows)
        clean = torch.where(cut.view(-1, 1, 1, 1), latents.cut_outs[rows % CUT_OUTS], latents.whole[rows])
        drawn = zip(rows.tolist(), kinds.tolist(), seeds.tolist(), strict=True)
        texts = [describe(scenes, row, kind, seed) for row, kind, seed in drawn]
        words = tokenizer(texts, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt").to(device())
        # One timestep from each of as many equal parts as the batch has samples: less variance (Kingma et al. 2021).
        places = (torch.arange(training.batch) + torch.rand(training.batch, generator=generator)) / training.batch
        times = (places * timesteps).long().clamp(max=timesteps - 1)
        noise = torch.randn(clean.shape, generator=generator)
        noisy = scheduler.add_noise(clean, noise, times)
        embeddings = model.text_encoder(words.input_ids).last_hidden_state
        predicted = model.unet(noisy, times, embeddings).sample.float()
        wanted = scheduler.get_velocity(clean, noise, times)
        return ((predicted - wanted).square().mean(dim=(1, 2, 3)) * weights[times]).mean()

    fit("diffusion", model, loss_of, training, settings["seed"])
    StableDiffusionPipeline(
        vae=load_vae(),
        text_encoder=model.text_encoder,
        tokenizer=tokenizer,
        unet=model.unet,
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
