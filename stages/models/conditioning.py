"""What a U-Net is given of prompts, whatever family it belongs to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

Rows = Tensor | slice | Sequence[int]


@dataclass(frozen=True)
class Conditioning:
    """The embeddings of n prompts."""

    text: Tensor  # of their tokens, (n, context, d)
    pooled: Tensor | None = None  # of the prompts as a whole, (n, p); Stable Diffusion XL's alone

    def __len__(self) -> int:
        return len(self.text)

    def __getitem__(self, rows: Rows) -> "Conditioning":
        """Return some prompts."""
        return self._each(lambda part: part[rows])

    def columns(self) -> dict[str, Tensor]:
        """Return the embeddings by name, as ``Conditioning(**columns)`` takes them."""
        return {"text": self.text} if self.pooled is None else {"text": self.text, "pooled": self.pooled}

    def expand(self, count: int) -> "Conditioning":
        """Return one prompt ``count`` times; n prompts, where ``count`` is n, stay as they are."""
        return self._each(lambda part: part.expand(count, *part.shape[1:]))

    def where(self, chosen: Tensor, other: "Conditioning") -> "Conditioning":
        """Return these prompts where ``chosen``, (n,), is true, and the others where it is not."""
        return self._each(lambda one, two: torch.where(chosen.view(-1, *[1] * (two.ndim - 1)), one, two), other)

    def followed_by(self, other: "Conditioning") -> "Conditioning":
        """Return these prompts and then the others."""
        return self._each(lambda *parts: torch.cat(parts), other)

    def added(self, width: int, height: int) -> dict[str, Any]:
        """Return what a U-Net takes beside the embeddings of the tokens, as arguments by name.

        Stable Diffusion XL also learns at which size a picture was found, where it was cut, and at which size it is shown
        (Podell et al. 2023, section 2.2). Here a picture is seen whole and at its own size, as in diffusers' img2img.

        Args:
            width: the pictures' width in pixels.
            height: the pictures' height in pixels.
        """
        if self.pooled is None:
            return {}
        times = self.pooled.new_tensor([height, width, 0, 0, height, width]).expand(len(self), 6)
        return {"added_cond_kwargs": {"text_embeds": self.pooled, "time_ids": times}}

    def _each(self, function: Callable[..., Tensor], *others: "Conditioning") -> "Conditioning":
        parts = [each.columns() for each in (self, *others)]
        return Conditioning(**{name: function(*(part[name] for part in parts)) for name in parts[0]})


class PromptEncoder(Protocol):
    """The text encoders of a checkpoint with their tokenizers."""

    @property
    def tokenizer(self) -> "CLIPTokenizer":
        """The tokenizer, or the first of several that know the same words."""

    @property
    def components(self) -> Mapping[str, Any]:
        """Encoders and tokenizers, by the names that diffusers' pipelines give them."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shapes of one prompt's embeddings, by their names in :meth:`Conditioning.columns`."""

    def embed(self, prompts: Sequence[str]) -> Conditioning:
        """Return the embeddings of n prompts; tokens beyond the context are cut off."""

    def unread(self, prompt: str) -> str:
        """Return the end of a prompt that lies beyond the context; empty if all of it is read."""
