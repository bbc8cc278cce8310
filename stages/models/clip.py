"""CLIP (Radford et al. 2021) in open_clip's layout."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import open_clip
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as transforms

from stages.core.params import ModelName
from stages.models.loading import check_vocabulary, frozen, loading
from stages.models.tensors import device, dtype_of, from_bytes, stacked


@dataclass(frozen=True)
class Clip:
    """CLIP with its tokenizer; all embeddings have unit length."""

    model: Any  # open_clip.CLIP or CustomTextCLIP
    tokenizer: Any
    size: int  # the side of the model's input in pixels
    mean: tuple[float, ...]  # for normalising the input, one per channel
    std: tuple[float, ...]

    def embed_pictures(self, pictures: Tensor) -> Tensor:
        """Return embeddings (n, d) of pictures (n, 3, h, w) in [0, 1]; gradients flow to the pictures.

        Pictures are resized to the model's input by antialiased bicubic interpolation.
        """
        return self._embed(pictures)

    @cached_property
    def width(self) -> int:
        """The length d of an embedding."""
        return int(self.embed_texts([""]).shape[1])

    def embed_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Return embeddings (n, d) of RGB images of one size."""
        return self.embed_bytes(stacked(images))

    @torch.no_grad()
    def embed_bytes(self, pixels: Tensor) -> Tensor:
        """Return embeddings (n, d) of pictures of bytes, (n, h, w, 3), see :func:`stages.models.tensors.stacked`."""
        return self._embed(from_bytes(pixels), inplace=True)

    def _embed(self, pictures: Tensor, *, inplace: bool = False) -> Tensor:
        """Return embeddings as :meth:`embed_pictures` does, which may be normalised where they lie if ``inplace``."""
        if pictures.shape[-2:] != (self.size, self.size):
            size = [self.size, self.size]
            pictures = transforms.resize(pictures, size, interpolation=transforms.InterpolationMode.BICUBIC, antialias=True)
        normalized = transforms.normalize(pictures, list(self.mean), list(self.std), inplace=inplace)
        features = self.model.encode_image(normalized.to(dtype_of(self.model)))
        return nn.functional.normalize(features.float(), dim=-1)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return embeddings (n, d) of texts; tokens beyond the model's context are cut off."""
        return self.embed_tokens(self.tokenizer(list(texts)))

    @torch.no_grad()
    def embed_tokens(self, tokens: Tensor) -> Tensor:
        """Return embeddings (n, d) of texts that the tokenizer has read."""
        return nn.functional.normalize(self.model.encode_text(tokens.to(device())).float(), dim=-1)


def load_clip(model: ModelName) -> Clip:
    """Load a CLIP. Its configuration says whether it uses QuickGELU, as OpenAI's weights require.

    Raises:
        ModelError: the model is missing, incomplete or damaged.
    """
    # If this weights file were missing, open_clip would look for a pickled one.
    with loading(model, "open_clip_config.json", "open_clip_model.safetensors") as folder:
        name = f"local-dir:{folder}"
        network = frozen(open_clip.create_model(name, require_pretrained=True), model.precision)
        size = network.visual.image_size
        size = size if isinstance(size, int) else size[0]
        tokenizer = open_clip.get_tokenizer(name)
        if isinstance(tokenizer, open_clip.tokenizer.HFTokenizer):  # open_clip's own tokenizer ships its vocabulary
            check_vocabulary(tokenizer.tokenizer, network.vocab_size)
        return Clip(network, tokenizer, size, tuple(network.visual.image_mean), tuple(network.visual.image_std))
