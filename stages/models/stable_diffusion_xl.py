"""Stable Diffusion XL (Podell et al. 2023): prompts as the states of two text encoders, and one embedding of the whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from stages.core.files import read_json
from stages.core.section import Precision
from stages.models.conditioning import Conditioning
from stages.models.families import ZEROS_FOR_EMPTY
from stages.models.layout import INDEX
from stages.models.prompts import unread
from stages.models.stable_diffusion import read_text_encoder, tokenize

LAYER = -2  # of the hidden states: the last but one


@dataclass(frozen=True)
class TwoTextEncoders:
    """Two text encoders with their tokenizers; a :class:`stages.models.conditioning.PromptEncoder`."""

    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    text_encoder_2: CLIPTextModelWithProjection
    tokenizer_2: CLIPTokenizer
    has_zeros_for_empty: bool  # whether the model was trained with zeros for an empty prompt

    @property
    def components(self) -> Mapping[str, Any]:
        """Encoders and tokenizers, by the names that diffusers' pipelines give them."""
        names = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
        return {name: getattr(self, name) for name in names}

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shapes (context, d) and (p,) of one prompt's embeddings."""
        first, second = self.text_encoder.config, self.text_encoder_2.config
        width = first.hidden_size + second.hidden_size
        return {"text": (first.max_position_embeddings, width), "pooled": (second.projection_dim,)}

    @torch.no_grad()
    def embed(self, prompts: Sequence[str]) -> Conditioning:
        """Return the embeddings of n prompts; tokens beyond the context are cut off."""
        context = self.shapes["text"][0]
        first = self.text_encoder(tokenize(self.tokenizer, prompts, context), output_hidden_states=True)
        second = self.text_encoder_2(tokenize(self.tokenizer_2, prompts, context), output_hidden_states=True)
        text = torch.cat([each.hidden_states[LAYER] for each in (first, second)], dim=-1).float()
        pooled = second.text_embeds.float()
        found = Conditioning(text, pooled)
        if not self.has_zeros_for_empty:
            return found
        is_empty: Tensor = torch.tensor([not prompt for prompt in prompts], device=text.device)
        return Conditioning(torch.zeros_like(text), torch.zeros_like(pooled)).where(is_empty, found)

    def unread(self, prompt: str) -> str:
        """Return the end of a prompt that lies beyond the context; empty if all of it is read."""
        return unread(self.tokenizer, prompt, self.shapes["text"][0])


def read_prompt_encoder(folder: Path, precision: Precision) -> TwoTextEncoders:
    """Read both text encoders of a checkpoint.

    Raises:
        OSError, ValueError, …: :data:`stages.models.loading.DAMAGE`, for :func:`stages.models.loading.loading` to report.
    """
    return TwoTextEncoders(
        *read_text_encoder(CLIPTextModel, folder, precision),
        *read_text_encoder(CLIPTextModelWithProjection, folder, precision, "_2"),
        has_zeros_for_empty=bool(read_json(folder / INDEX).get(ZEROS_FOR_EMPTY, True)),
    )
