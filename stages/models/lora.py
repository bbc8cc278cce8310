"""LoRA (Hu et al. 2022): low-rank additions to a U-Net's attention, which are trained while its own weights stay."""

from pathlib import Path
from typing import TYPE_CHECKING

from stages.common.seeds import derive_seed

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel
    from torch import nn

LORA_FILE = "pytorch_lora_weights.safetensors"  # the name under which diffusers looks for one in a folder
TARGETS = ("to_k", "to_q", "to_v", "to_out.0")  # the projections of every attention, as in diffusers' training script


def add_lora(unet: "UNet2DConditionModel", rank: int, seed: int) -> None:
    """Add a LoRA to a U-Net, in place. It begins as no change: A is drawn, B is zero.

    Args:
        unet: the U-Net; its own weights are frozen.
        rank: of the additions B A, which are not scaled.
        seed: decides A.
    """
    import torch
    from peft import LoraConfig

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "lora"))
        unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=list(TARGETS)))


def lora_layers(unet: "UNet2DConditionModel") -> "nn.ModuleList":
    """Return the layers that :func:`add_lora` added, A and B of each projection in turn."""
    from peft.tuners.lora import LoraLayer
    from torch import nn

    found = [module for module in unet.modules() if isinstance(module, LoraLayer)]
    return nn.ModuleList([part for module in found for part in (module.lora_A, module.lora_B)])


def save_lora(unet: "UNet2DConditionModel", folder: Path) -> None:
    """Write the LoRA of a U-Net as ``folder/LORA_FILE``, which ``load_lora_weights`` of diffusers' pipelines opens."""
    from diffusers.loaders import StableDiffusionLoraLoaderMixin
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft.utils import get_peft_model_state_dict

    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    StableDiffusionLoraLoaderMixin.save_lora_weights(folder, unet_lora_layers=layers, weight_name=LORA_FILE)


def merge_lora(unet: "UNet2DConditionModel") -> None:
    """Add a LoRA to the weights of its U-Net, in place, and remove its layers."""
    unet.fuse_lora()
    unet.unload_lora()
