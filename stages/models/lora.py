"""LoRA (Hu et al. 2022): low-rank additions to a U-Net's attention, which are trained while its own weights stay.

A file of one has the names that kohya's scripts gave them, which diffusers, ComfyUI and the usual web UIs read. NAME is where a
projection stands in diffusers' U-Net, with "_" for ".":

    lora_unet_NAME.lora_down.weight   A, (rank, inputs)
    lora_unet_NAME.lora_up.weight     B, (outputs, rank)
    lora_unet_NAME.alpha              the projection gains alpha / rank · B A; alpha is the rank
"""

from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stages.common.seeds import derive_seed
from stages.core.files import written_aside
from stages.core.params import ModelName
from stages.models.layout import LORA
from stages.models.loading import loading

PROJECTIONS = ("to_k", "to_q", "to_v", "to_out.0")  # of every attention, as in diffusers' training script
ADAPTER = "default"  # the name of the only one within a U-Net
BASE = "iedit.base"
PREFIX, DOWN, UP, ALPHA = "lora_unet_", ".lora_down.weight", ".lora_up.weight", ".alpha"


def add_lora(unet: UNet2DConditionModel, rank: int, seed: int) -> None:
    """Add a LoRA to a U-Net, in place. It changes no prediction yet: A is drawn, B is zero.

    Args:
        unet: the U-Net; its own weights are frozen.
        rank: of B A.
        seed: decides A.
    """
    from peft import LoraConfig

    config = LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=list(PROJECTIONS))
    with torch.random.fork_rng(devices=[]):  # A is drawn on the CPU
        torch.manual_seed(derive_seed(seed, "lora"))
        unet.add_adapter(config, ADAPTER)


def has_lora(unet: UNet2DConditionModel) -> bool:
    """Return whether a U-Net has a LoRA beside its weights."""
    return hasattr(unet, "peft_config")


def lora_layers(unet: UNet2DConditionModel) -> nn.ModuleList:
    """Return the layers that :func:`add_lora` added, A and B of each projection in turn."""
    return nn.ModuleList(part for pair in _projections(unet).values() for part in pair)


def save_lora(unet: UNet2DConditionModel, path: Path, base: str) -> None:
    """Write the LoRA of a U-Net to a file, whole or not at all.

    Args:
        unet: the U-Net.
        path: the file.
        base: the identity of the model that it adds to, which the file's metadata keep.
    """
    tensors: dict[str, Tensor] = {}
    for name, (down, up) in _projections(unet).items():
        weights = {DOWN: down.weight, UP: up.weight, ALPHA: torch.tensor(float(down.out_features))}
        tensors |= {f"{name}{ending}": value.detach().cpu().contiguous() for ending, value in weights.items()}
    with written_aside(path) as temporary:
        # One entry, because safetensors writes several in any order, and the same LoRA would have other bytes.
        save_file(tensors, temporary, metadata={BASE: base})


@torch.no_grad()
def load_lora(unet: UNet2DConditionModel, folder: Path) -> None:
    """Give the LoRA of a U-Net the weights in ``folder/LORA``, in place.

    Raises:
        ModelError: the file is missing or damaged, or of another rank or U-Net.
    """
    with loading(ModelName(name=str(folder)), LORA):
        tensors = load_file(folder / LORA)
        for name, (down, up) in _projections(unet).items():
            down.load_state_dict({"weight": tensors[f"{name}{DOWN}"]})
            up.load_state_dict({"weight": tensors[f"{name}{UP}"]})


def read_facts(folder: Path) -> tuple[int, str | None]:
    """Return the rank of the LoRA in ``folder/LORA``, and the identity of its base, which others' files do not have.

    Raises:
        ModelError: the file is missing or damaged.
    """
    with loading(ModelName(name=str(folder)), LORA), safe_open(folder / LORA, framework="pt") as file:
        first = min(name for name in file.keys() if name.endswith(DOWN))  # noqa: SIM118 - safe_open is no mapping
        return int(file.get_slice(first).get_shape()[0]), (file.metadata() or {}).get(BASE)


def merge_lora(unet: UNet2DConditionModel) -> None:
    """Add a LoRA to the weights of its U-Net, in place, and remove its layers."""
    unet.fuse_lora()
    unet.unload_lora()


def _projections(unet: UNet2DConditionModel) -> dict[str, tuple[nn.Linear, nn.Linear]]:
    """Return A and B of every projection by its name in a file."""
    from peft.tuners.lora import LoraLayer

    layers = {name: module for name, module in unet.named_modules() if isinstance(module, LoraLayer)}
    return {f"{PREFIX}{name.replace('.', '_')}": (each.lora_A[ADAPTER], each.lora_B[ADAPTER]) for name, each in layers.items()}
