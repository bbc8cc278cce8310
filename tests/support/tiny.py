"""Tiny random checkpoints in the hub's own folder layouts, one for every class of model.

They share nothing with the nano family but the classes, so a stage that runs on them knows nothing of it.
"""

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from torchvision.models.vgg import make_layers
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessorPil,
    BlipProcessor,
    CLIPSegConfig,
    CLIPSegForImageSegmentation,
    CLIPSegProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    ViTImageProcessorPil,
)

from stages.core.files import write_json
from stages.core.params import ModelName

CONTEXT = 16
SIZE = 32


def _clip_tokenizer() -> CLIPTokenizer:
    letters = list(open_clip.tokenizer.bytes_to_unicode().values())
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=[], pad_token="<|endoftext|>", model_max_length=CONTEXT)


def split_tokenizer(folder: Path) -> None:
    """Replace tokenizer.json by the files that the hub's repositories of Stable Diffusion have instead."""
    content = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer.json").unlink()
    write_json(folder / "vocab.json", content["vocab"])
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in content["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")


def tiny_captioner(folder: Path) -> ModelName:
    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[DEC]", "a", "red", "blue", "dog", "cat", "on", "the", "beach"]
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(words)}, bos_token="[DEC]")
    text = {"vocab_size": len(words), "hidden_size": 16, "encoder_hidden_size": 16, "intermediate_size": 16}
    text |= {"num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 32}
    text |= {"bos_token_id": 4, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": SIZE, "patch_size": 16}
    BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
    BlipProcessor(BlipImageProcessorPil(size={"height": SIZE, "width": SIZE}), tokenizer).save_pretrained(folder)
    return ModelName(name=str(folder))


def tiny_clip(folder: Path, seed: int = 0) -> ModelName:
    tokenizer = _clip_tokenizer()
    tokenizer.save_pretrained(folder)
    config = {
        "embed_dim": 16,
        "quick_gelu": True,
        "vision_cfg": {"image_size": SIZE, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": len(tokenizer),
            "width": 16,
            "heads": 2,
            "layers": 1,
            "hf_tokenizer_name": "local",
        },
    }
    write_json(folder / "open_clip_config.json", {"model_cfg": config, "preprocess_cfg": {}})
    torch.manual_seed(seed)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    return ModelName(name=str(folder))


def tiny_segmenter(folder: Path, seed: int = 0) -> ModelName:
    torch.manual_seed(seed)
    tokenizer = _clip_tokenizer()
    text = {"vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    text |= {"num_attention_heads": 2, "max_position_embeddings": CONTEXT}
    text |= {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision |= {"image_size": SIZE, "patch_size": 8}
    config = CLIPSegConfig(
        text_config=text,
        vision_config=vision,
        projection_dim=16,
        reduce_dim=8,
        extract_layers=[0, 1],
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
    )
    CLIPSegForImageSegmentation(config).save_pretrained(folder)
    CLIPSegProcessor(ViTImageProcessorPil(size={"height": SIZE, "width": SIZE}), tokenizer).save_pretrained(folder)
    return ModelName(name=str(folder))


def tiny_referee(folder: Path) -> ModelName:
    """A CLIPSeg of other weights."""
    return tiny_segmenter(folder, seed=1)


def tiny_vgg(folder: Path) -> ModelName:
    torch.manual_seed(0)
    layers = make_layers([4, 4, "M", 4, 4, "M", 8, 8, 8, "M", 8, 8, 8, "M", 8, 8, 8, "M"], batch_norm=False)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({f"features.{key}": value for key, value in layers.state_dict().items()}, folder / "model.safetensors")
    return ModelName(name=str(folder))


def _autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        sample_size=SIZE,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        latent_channels=4,
        norm_num_groups=2,
    )


def _unet(width: int, sample_size: int = SIZE // 2, **settings: Any) -> UNet2DConditionModel:
    """Return a U-Net that reads text embeddings of ``width`` numbers."""
    return UNet2DConditionModel(
        sample_size=sample_size,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=width,
        attention_head_dim=4,
        norm_num_groups=2,
        **settings,
    )


def _text_config(tokenizer: CLIPTokenizer, **settings: Any) -> CLIPTextConfig:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2} | settings
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=CONTEXT,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **sizes,
    )


def _scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def tiny_diffusion(folder: Path) -> ModelName:
    torch.manual_seed(0)
    tokenizer, vae, unet = _clip_tokenizer(), _autoencoder(), _unet(16)
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(_text_config(tokenizer)),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return ModelName(name=str(folder))


def tiny_diffusion_xl(folder: Path) -> ModelName:
    """Stable Diffusion XL, small: the scheduler file is Euler's, as the hub has it, and latents have their own scale."""
    torch.manual_seed(1)
    tokenizer, vae = _clip_tokenizer(), _autoencoder()
    vae.register_to_config(scaling_factor=0.13025)
    second = _text_config(tokenizer, hidden_size=24, num_hidden_layers=3, projection_dim=12, num_attention_heads=4)
    StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(_text_config(tokenizer, num_hidden_layers=2)),
        text_encoder_2=CLIPTextModelWithProjection(second),
        tokenizer=tokenizer,
        tokenizer_2=CLIPTokenizer(vocab=tokenizer.get_vocab(), merges=[], pad_token="!</w>", model_max_length=CONTEXT),
        unet=_unet(
            40,
            sample_size=SIZE,  # not the size of the tests' pictures, as 1024 is not that of a corpus
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=12 + 6 * 8,
            use_linear_projection=True,
            transformer_layers_per_block=(1, 2),
        ),
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="leading", steps_offset=1
        ),
        add_watermarker=False,
    ).save_pretrained(folder)
    return ModelName(name=str(folder))
