"""The paper preset's networks at their true sizes, with random weights, on torch's default device.

On the meta device they take no memory, which is enough to count parameters and operations.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

BLIP_TOKENS = {"vocab_size": 30524, "bos_token_id": 30522, "eos_token_id": 102, "sep_token_id": 102, "pad_token_id": 0}
CLIP_TOKENS = 49408


def blip() -> nn.Module:
    """Return BLIP's large captioner (Li et al. 2022), as in Salesforce/blip-image-captioning-large."""
    from transformers import BlipConfig, BlipForConditionalGeneration

    vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    text = BLIP_TOKENS | {"encoder_hidden_size": 1024}
    return BlipForConditionalGeneration(BlipConfig(vision_config=vision | {"image_size": 384}, text_config=text)).eval()


def clip(architecture: str) -> nn.Module:
    """Return a CLIP (Radford et al. 2021) by open_clip's name of its architecture, such as ViT-B-32-quickgelu."""
    import open_clip

    model: nn.Module = open_clip.model.CLIP(**open_clip.get_model_config(architecture))
    return model.eval()


def clipseg() -> nn.Module:
    """Return CLIPSeg with the refined decoder (Lüddecke and Ecker 2022), as in CIDAS/clipseg-rd64-refined."""
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

    text = {"vocab_size": CLIP_TOKENS, "bos_token_id": CLIP_TOKENS - 2, "eos_token_id": CLIP_TOKENS - 1}
    config = CLIPSegConfig(
        text_config=text | {"pad_token_id": CLIP_TOKENS - 1},
        vision_config={"patch_size": 16},  # ViT-B/16, which Lüddecke and Ecker take; 32 is the library's default
        use_complex_transposed_convolution=True,
    )
    return CLIPSegForImageSegmentation(config).eval()


def vgg16() -> nn.Module:
    """Return VGG-16 (Simonyan and Zisserman 2015), whose features L_perc reads."""
    from torchvision.models import vgg16 as network

    return network().eval()


def unet() -> nn.Module:
    """Return Stable Diffusion 1's U-Net (Rombach et al. 2022), with the ``sample_size`` of pictures of 512 pixels."""
    from diffusers import UNet2DConditionModel

    # The channels are named although they are the default, which diffusers would also give to a copy with others.
    return UNet2DConditionModel(in_channels=4, sample_size=64, cross_attention_dim=768, attention_head_dim=8).eval()


def vae() -> nn.Module:
    """Return Stable Diffusion 1's autoencoder."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        sample_size=512,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
    ).eval()


def text_encoder() -> nn.Module:
    """Return Stable Diffusion 1's text encoder, that of CLIP ViT-L/14."""
    from transformers import CLIPTextConfig, CLIPTextModel

    sizes = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    tokens = {"bos_token_id": CLIP_TOKENS - 2, "eos_token_id": CLIP_TOKENS - 1, "pad_token_id": CLIP_TOKENS - 1}
    return CLIPTextModel(CLIPTextConfig(vocab_size=CLIP_TOKENS, **sizes, **tokens)).eval()


def unet_xl() -> nn.Module:
    """Return the U-Net of Stable Diffusion XL base (Podell et al. 2023), as in stabilityai/stable-diffusion-xl-base-1.0."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        in_channels=4,
        sample_size=128,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(5, 10, 20),
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    ).eval()


def second_text_encoder_xl() -> nn.Module:
    """Return the second text encoder of Stable Diffusion XL, that of OpenCLIP ViT-bigG/14; the first is that of 1.x."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    sizes = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20}
    config = CLIPTextConfig(vocab_size=CLIP_TOKENS, **sizes, projection_dim=1280, hidden_act="gelu")
    return CLIPTextModelWithProjection(config).eval()


NETWORKS: Mapping[str, tuple[Callable[[], nn.Module], float | None]] = {
    "U-Net": (unet, 859.5),
    "autoencoder": (vae, 83.7),
    "text encoder": (text_encoder, 123.1),
    "BLIP large": (blip, None),
    "CLIP ViT-B/32": (lambda: clip("ViT-B-32-quickgelu"), 151.3),
    "CLIP ViT-L/14": (lambda: clip("ViT-L-14-quickgelu"), 427.6),
    "CLIPSeg rd64": (clipseg, None),
    "VGG-16": (vgg16, 138.4),
}
"""Network → the function that builds it, and its published number of parameters in millions, or None.

The first three are those of Stable Diffusion 1 as diffusers loads it; CLIP's are open_clip's (docs/model_profile.csv), VGG's
torchvision's. For the others no figure was found that counts all parameters.
"""


def count_parameters() -> dict[str, int]:
    """Return the number of parameters of each network, of which no weight is made."""
    with torch.device("meta"):
        return {name: sum(weights.numel() for weights in make().parameters()) for name, (make, _) in NETWORKS.items()}


def parameter_lines(counts: Mapping[str, Any]) -> list[str]:
    """Return a Markdown table of the networks' parameters beside the published figures."""
    lines = ["| Network | Parameters | Published |", "|---|---:|---:|"]
    for name, count in counts.items():
        published = NETWORKS[name][1]
        lines.append(f"| {name} | {count / 1e6:.1f} M | {'' if published is None else f'{published:.1f} M'} |")
    return lines
