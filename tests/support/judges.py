"""Tiny random models that measure, saved as those of the hub are, and pictures for them."""

from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torchmetrics.functional.image.lpips import _LPIPS

from stages.core.files import write_json
from stages.core.params import ModelName


def tiny_dino(folder: Path, patch: int = 8) -> ModelName:
    torch.manual_seed(0)
    arguments = {"img_size": 224, "patch_size": patch, "embed_dim": 12, "depth": 2, "num_heads": 3}
    network = timm.create_model("vit_tiny_patch16_224", num_classes=0, **arguments)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), folder / "model.safetensors")
    write_json(folder / "config.json", {"architecture": "vit_tiny_patch16_224", "model_args": arguments})
    return ModelName(name=str(folder))


def their_lpips() -> _LPIPS:
    """Torchmetrics' own LPIPS on a random SqueezeNet, with random positive weights."""
    torch.manual_seed(0)
    network = _LPIPS(pretrained=False, net="squeeze", pnet_rand=True)
    for layer in network.lins:
        torch.nn.init.uniform_(layer.model[-1].weight)
    return network


def saved_lpips(network: _LPIPS, folder: Path) -> ModelName:
    weights = {}
    for name, value in network.state_dict().items():
        if name.startswith("net.slices."):
            weights[f"features.{name.split('.', 3)[3]}"] = value
        elif name.startswith("lins."):
            weights[f"lin{name.split('.')[1]}.model.1.weight"] = value
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / "model.safetensors")
    return ModelName(name=str(folder))


def smooth(seed: int, width: int = 64, height: int = 64) -> Image.Image:
    """A picture with large and small structure."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(256, size=(5, 5, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    fine = rng.integers(-12, 13, size=(height, width, 3))
    return Image.fromarray(np.clip(np.asarray(coarse, int) + fine, 0, 255).astype(np.uint8))


def box(width: int = 64, height: int = 64) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    mask[height // 4 : height // 2, width // 4 : 3 * width // 4] = True
    return mask
