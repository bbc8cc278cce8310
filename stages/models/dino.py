"""DINO (Caron et al. 2021), a vision transformer in timm's layout: embeddings of pictures, and the keys of its last block."""

import re
from dataclasses import dataclass
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from stages.core.files import read_json
from stages.core.params import ModelName
from stages.models.loading import frozen, loading
from stages.models.vgg import IMAGENET_MEAN, IMAGENET_STD


@dataclass(frozen=True)
class Dino:
    """A vision transformer without a head."""

    network: Any  # timm's VisionTransformer

    @torch.no_grad()
    def embed(self, pictures: Tensor) -> Tensor:
        """Return the class tokens after the last layer, (n, d), of pictures (n, 3, h, w) in [0, 1]."""
        hidden: Tensor = self.network.forward_features(_normalised(pictures))
        return hidden[:, 0]

    @torch.no_grad()
    def keys(self, pictures: Tensor) -> Tensor:
        """Return the last block's keys of every token, the class token first, (n, tokens, d).

        Args:
            pictures: (n, 3, h, w), nominally in [0, 1].
        """
        found: list[Tensor] = []
        projection = self.network.blocks[-1].attn.qkv
        handle = projection.register_forward_hook(lambda _, __, output: found.append(output))
        try:
            self.network.forward_features(_normalised(pictures))
        finally:
            handle.remove()
        return found[0].chunk(3, dim=-1)[1]


def _normalised(pictures: Tensor) -> Tensor:
    return transforms.normalize(pictures, list(IMAGENET_MEAN), list(IMAGENET_STD))


def load_dino(model: ModelName) -> Dino:
    """Load a DINO, such as the hub's ``timm/vit_base_patch8_224.dino``.

    Raises:
        ModelError: the model is missing, incomplete, damaged or no vision transformer.
    """
    with loading(model, "config.json", "model.safetensors") as folder:
        config = read_json(folder / "config.json")
        architecture = config["architecture"]
        if not re.fullmatch(r"vit_\w+", architecture):
            raise ValueError(f"architecture {architecture!r}: must be a vision transformer of timm, vit_…")
        arguments = {"num_classes": 0, "dynamic_img_size": True, **config.get("model_args", {})}
        network = timm.create_model(architecture, pretrained=False, **arguments)
        network.load_state_dict(load_file(folder / "model.safetensors"))
        return Dino(frozen(network.float()))
