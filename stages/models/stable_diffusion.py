"""Stable Diffusion 1.x and 2.x (Rombach et al. 2022): prompts as the last hidden states of one CLIP text encoder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from stages.core.section import Precision
from stages.models.conditioning import Conditioning
from stages.models.loading import check_vocabulary, complete, frozen, weights_in
from stages.models.prompts import unread
from stages.models.tensors import device


@dataclass(frozen=True)
class OneTextEncoder:
    """A text encoder with its tokenizer; a :class:`stages.models.conditioning.PromptEncoder`."""

    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer

    @property
    def components(self) -> Mapping[str, Any]:
        """Encoder and tokenizer, by the names that diffusers' pipelines give them."""
        return {"text_encoder": self.text_encoder, "tokenizer": self.tokenizer}

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape (context, d) of one prompt's embedding."""
        config = self.text_encoder.config
        return {"text": (config.max_position_embeddings, config.hidden_size)}

    @torch.no_grad()
    def embed(self, prompts: Sequence[str]) -> Conditioning:
        """Return the embeddings of n prompts; tokens beyond the context are cut off."""
        tokens = tokenize(self.tokenizer, prompts, self.shapes["text"][0])
        return Conditioning(self.text_encoder(tokens).last_hidden_state.float())

    def unread(self, prompt: str) -> str:
        """Return the end of a prompt that lies beyond the context; empty if all of it is read."""
        return unread(self.tokenizer, prompt, self.shapes["text"][0])


def read_prompt_encoder(folder: Path, precision: Precision) -> OneTextEncoder:
    """Read the text encoder of a checkpoint.

    Raises:
        OSError, ValueError, …: :data:`stages.models.loading.DAMAGE`, for :func:`stages.models.loading.loading` to report.
    """
    return OneTextEncoder(*read_text_encoder(CLIPTextModel, folder, precision))


def tokenize(tokenizer: CLIPTokenizer, prompts: Sequence[str], context: int) -> Tensor:
    """Return the numbers of the tokens of n prompts, (n, context), on the device; a tokenizer may not know its context."""
    tokens = tokenizer(list(prompts), padding="max_length", max_length=context, truncation=True, return_tensors="pt")
    numbers: Tensor = tokens.input_ids.to(device())
    return numbers


def read_text_encoder(kind: Any, folder: Path, precision: Precision, suffix: str = "") -> tuple[Any, CLIPTokenizer]:
    """Return a text encoder of a class, and its tokenizer, from the folders whose names end with ``suffix``."""
    place = folder / f"text_encoder{suffix}"
    text_encoder = complete(kind.from_pretrained(place, **weights_in(place, "model")))
    tokenizer = CLIPTokenizer.from_pretrained(folder / f"tokenizer{suffix}")
    check_vocabulary(tokenizer, text_encoder.config.vocab_size)
    return frozen(text_encoder, precision), tokenizer
