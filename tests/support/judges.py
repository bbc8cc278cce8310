"""Tiny random models that measure, saved as those of the hub are, and pictures for them."""

from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytorch_fid.inception
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torchmetrics.functional.image.lpips import _LPIPS
from torchvision.models import inception_v3

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


def random_inception(classes: int = 1008, *, aux_logits: bool = False) -> dict[str, Tensor]:
    """Random weights with torchvision's names, which those of FID have too; features neither vanish nor explode."""
    torch.manual_seed(0)
    network = inception_v3(weights=None, num_classes=classes, aux_logits=aux_logits, init_weights=False)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.running_var):
                nn.init.uniform_(values, 0.5, 1.5)
            for values in (module.bias, module.running_mean):
                nn.init.normal_(values, std=0.1)
    return network.state_dict()


class TheirInception(nn.Module):
    """pytorch-fid's own network, with its own resizing, as torchmetrics takes it."""

    num_features = 2048

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        with patch.object(pytorch_fid.inception, "load_state_dict_from_url", return_value=weights):  # not the released pickle
            self.network = pytorch_fid.inception.InceptionV3().eval()

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        return self.network(pictures)[0].flatten(1)


def saved_inception(weights: dict[str, Tensor], folder: Path) -> ModelName:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "model.safetensors")
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
