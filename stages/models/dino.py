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

ARGUMENTS = ("img_size", "patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio", "qkv_bias", "init_values", "reg_tokens")
"""What a model's config.json may set; others of timm name files to load, or change what the class token is."""


@dataclass(frozen=True)
class Dino:
    """A vision transformer without a head."""

    network: Any  # timm's VisionTransformer

    @torch.no_grad()
    def embed(self, pictures: Tensor) -> Tensor:
        """Return the class tokens after the last layer, (n, d), of pictures (n, 3, h, w) in [0, 1]."""
        hidden: Tensor = self.network.forward_features(self._prepared(pictures))
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
            self.network.forward_features(self._prepared(pictures))
        finally:
            handle.remove()
        return found[0].chunk(3, dim=-1)[1]

    def _prepared(self, pictures: Tensor) -> Tensor:
        """Return pictures normalised, without the pixels at the right and the bottom that fill no patch.

        DINO's own convolution ignores these; timm refuses them.
        """
        height, width = (
            side - side % patch for side, patch in zip(pictures.shape[-2:], self.network.patch_embed.patch_size, strict=True)
        )
        return transforms.normalize(pictures[..., :height, :width], list(IMAGENET_MEAN), list(IMAGENET_STD))


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
        arguments = config.get("model_args", {})
        unknown = sorted(set(arguments) - set(ARGUMENTS))
        if unknown:
            raise ValueError(f"model_args: {unknown[0]!r}: allowed are {', '.join(ARGUMENTS)}")
        network = timm.create_model(architecture, pretrained=False, num_classes=0, dynamic_img_size=True, **arguments)
        network.load_state_dict(load_file(folder / "model.safetensors"))
        return Dino(frozen(network.float()))
