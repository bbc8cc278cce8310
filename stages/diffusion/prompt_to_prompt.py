"""Prompt-to-Prompt (Hertz et al. 2023) for real pictures: the edit looks where the source's own drawing looked.

The source is inverted by DDIM, and its branch is put back onto the inverted latents at each step (PnP Inversion, Ju et al.
2024), so that the attention maps are those of the source itself.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from stages.diffusion.guidance import PredictNoise, guide
from stages.diffusion.inversion import invert_latents
from stages.models.conditioning import Conditioning

LARGEST = 32**2  # places in the maps of self-attention that are replaced, as the authors' code has it
BRANCHES = 3  # rows of a batch: the source, the edit without prompt, the edit with its prompt


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Which token of the source's prompt each token of the edit's prompt stands for."""

    tokens: Tensor  # (n, context), 0 where it stands for none
    is_aligned: Tensor  # (n, context), bool


def align(sources: Sequence[Sequence[int]], prompts: Sequence[Sequence[int]]) -> Alignment:
    """Return the alignment of n pairs of prompts.

    Common tokens stand for each other (the paper's refinement), and so do swapped ones if as many come as go (its word swap).
    A new token stands for none and keeps its own attention.

    Args:
        sources: token ids of the sources' prompts, padded to the context.
        prompts: token ids of the edits' prompts, padded to the context.
    """
    tokens = torch.zeros(len(prompts), len(prompts[0]), dtype=torch.long)
    is_aligned = torch.zeros_like(tokens, dtype=torch.bool)
    for row, (source, prompt) in enumerate(zip(sources, prompts, strict=True)):
        for _, start, end, first, last in SequenceMatcher(None, source, prompt, autojunk=False).get_opcodes():
            if end - start == last - first:
                tokens[row, first:last] = torch.arange(start, end)
                is_aligned[row, first:last] = True
    return Alignment(tokens=tokens, is_aligned=is_aligned)


class ReplacedAttention:
    """An attention processor of diffusers that gives the edit the source's maps while ``cross`` or ``self_`` is on.

    A batch has three branches of n rows: the source, the edit without prompt, and the edit with its prompt.
    """

    def __init__(self, alignment: Alignment) -> None:
        self.alignment = alignment
        self.cross, self.self_ = True, True

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any) -> Tensor:
        """Return what diffusers' plain processor returns, with replaced maps."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            attn.head_to_batch_dim(project(states))
            for project, states in ((attn.to_q, hidden_states), (attn.to_k, context), (attn.to_v, context))
        )
        maps = attn.get_attention_scores(query, key).unflatten(0, (BRANCHES, -1, attn.heads))
        if encoder_hidden_states is not None and self.cross:
            maps = self._with_cross_maps(maps)
        elif encoder_hidden_states is None and self.self_ and maps.shape[-1] <= LARGEST:
            maps = torch.stack([maps[0], maps[1], maps[0]])
        hidden = attn.batch_to_head_dim(torch.bmm(maps.flatten(0, 2), value))
        return attn.to_out[1](attn.to_out[0](hidden)) / attn.rescale_output_factor

    def _with_cross_maps(self, maps: Tensor) -> Tensor:
        """Give each aligned token of the edit the map of the source's token; maps are (3, n, heads, places, tokens)."""
        source, empty, own = maps
        tokens, is_aligned = (
            each.to(maps.device)[:, None, None].expand_as(own) for each in (self.alignment.tokens, self.alignment.is_aligned)
        )
        return torch.stack([source, empty, torch.where(is_aligned, source.gather(-1, tokens), own)])


@contextmanager
def attention_by(unet: UNet2DConditionModel, processor: Any) -> Iterator[None]:
    """Let a processor do all of a U-Net's attention inside the block."""
    own = unet.attn_processors
    unet.set_attn_processor(processor)
    try:
        yield
    finally:
        unet.set_attn_processor(own)


def prompt_to_prompt_latents(
    predict_noise: PredictNoise,
    unet: UNet2DConditionModel,
    scheduler: DDIMScheduler,
    source: Tensor,
    alignment: Alignment,
    source_prompt: Conditioning,
    prompt: Conditioning,
    empty_prompt: Conditioning,
    *,
    steps: int,
    guidance_scale: float,
    cross_share: float,
    self_share: float,
) -> Tensor:
    """Return edited latents, (n, c, h, w).

    Args:
        predict_noise: ε_θ.
        unet: the network behind it, whose attention is replaced.
        scheduler: its state is reset.
        source: z₁, (n, c, h, w).
        alignment: which token of a source prompt each token of the edit prompt stands for.
        source_prompt: n prompts, what the sources show.
        prompt: n prompts, what the edits should show.
        empty_prompt: the empty prompt, 1 or n.
        steps: the number of steps in the schedule; all are run.
        guidance_scale: the scale of classifier-free guidance.
        cross_share: the share of the steps, the first ones, with the source's maps of cross-attention, in [0, 1].
        self_share: the same for self-attention.
    """
    timesteps, inverted = invert_latents(
        lambda latents, timestep: predict_noise(latents, timestep, source_prompt), scheduler, source, steps=steps, strength=1.0
    )
    prompts = source_prompt.followed_by(empty_prompt.expand(len(prompt))).followed_by(prompt)
    replaced = ReplacedAttention(alignment)
    latents = inverted[0]
    with attention_by(unet, replaced):
        for number, timestep in enumerate(timesteps):
            replaced.cross, replaced.self_ = number < cross_share * steps, number < self_share * steps
            rows = torch.cat([inverted[number], latents, latents])
            _, unconditional, conditional = predict_noise(rows, timestep, prompts).chunk(BRANCHES)
            noise = guide(unconditional, conditional, guidance_scale)
            latents = scheduler.step(noise, timestep, latents).prev_sample
    return latents
