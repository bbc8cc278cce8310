"""The input of every metric: the requested edits, one system's pictures of them, and their embeddings."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from stages.core.errors import InputError
from stages.models.clip import Clip
from stages.models.inception import Inception
from stages.models.vgg import Vgg


@dataclass(frozen=True, kw_only=True)
class Cases:
    """The n requested edits, in a fixed order.

    Raises:
        InputError: counts, shapes or ranges do not fit, or the candidates of a case lack its target.
    """

    sources: Tensor  # (n, 3, H, W) in [0, 1]
    masks: Tensor  # (n, 1, H, W) in [0, 1], 1 where the edit belongs
    captions: Sequence[str]  # what the sources show
    prompts: Sequence[str]  # what the edits should show
    target_terms: Sequence[str]  # what the edited region must show: "blue car"
    candidates: Sequence[Sequence[str]]  # for each case the terms that could stand there, with the target; each counts once

    def __post_init__(self) -> None:
        counts = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        if len(set(counts.values())) != 1 or not len(self.sources):
            raise InputError(f"evaluation cases: each needs one of every part, found {counts}")
        _check_pictures("sources", self.sources, channels=3)
        _check_pictures("masks", self.masks, channels=1)
        if self.sources.shape[-2:] != self.masks.shape[-2:]:
            raise InputError(f"masks of {tuple(self.masks.shape[-2:])} for sources of {tuple(self.sources.shape[-2:])}")
        for number, (term, candidates) in enumerate(zip(self.target_terms, self.candidates, strict=True)):
            if term not in candidates:
                raise InputError(f"evaluation case {number}: the target term {term!r} is not among its candidates")


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """One system's edits of the cases, with the models that judge them; embeddings are made once, when first needed.

    Raises:
        InputError: the edits do not have the shape of the sources, or leave [0, 1].
    """

    cases: Cases
    edits: Tensor  # (n, 3, H, W) in [0, 1], in the order of the cases
    judge: Clip  # a CLIP that nothing was trained against
    vgg: Vgg
    batch: int  # pictures, or texts, per forward pass
    inception: Inception | None = None  # None: there is no FID

    def __post_init__(self) -> None:
        _check_pictures("edits", self.edits, channels=3)
        if self.edits.shape != self.cases.sources.shape:
            raise InputError(f"edits of shape {tuple(self.edits.shape)} for sources of {tuple(self.cases.sources.shape)}")

    @cached_property
    def source_embeddings(self) -> Tensor:
        """The judge's embeddings of the sources, (n, d)."""
        return self.embed_pictures(self.cases.sources)

    @cached_property
    def edit_embeddings(self) -> Tensor:
        """The judge's embeddings of the edits, (n, d)."""
        return self.embed_pictures(self.edits)

    @cached_property
    def caption_embeddings(self) -> Tensor:
        """The judge's embeddings of the sources' captions, (n, d)."""
        return self.embed_texts(self.cases.captions)

    @cached_property
    def prompt_embeddings(self) -> Tensor:
        """The judge's embeddings of the edit prompts, (n, d)."""
        return self.embed_texts(self.cases.prompts)

    @cached_property
    def features(self) -> tuple[Tensor, Tensor]:
        """The features of sources and edits for distances between sets, (n, d) each, double precision, on the CPU.

        These are the judge's embeddings times √d: their components have mean square 1, so that KID's x·y/d is the cosine.
        """
        sources, edits = (
            embeddings.double().cpu() * math.sqrt(embeddings.shape[1])
            for embeddings in (self.source_embeddings, self.edit_embeddings)
        )
        return sources, edits

    @cached_property
    def inception_features(self) -> tuple[Tensor, Tensor]:
        """Inception's pool3 features of sources and edits, (n, 2048) each, double precision, on the CPU.

        Raises:
            ValueError: there is no Inception, see ``Metric.is_measured``.
        """
        if self.inception is None:
            raise ValueError("no Inception is loaded")
        embed = self.inception.embed
        sources, edits = (self._embed(embed, pictures).double().cpu() for pictures in (self.cases.sources, self.edits))
        return sources, edits

    def embed_pictures(self, pictures: Tensor) -> Tensor:
        """Return the judge's embeddings (n, d) of pictures (n, 3, h, w) in [0, 1]."""
        return self._embed(self.judge.embed_pictures, pictures)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return the judge's embeddings (n, d) of n texts."""
        return self._embed(self.judge.embed_texts, texts)

    def by_batch(self, measure: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        """Return ``measure(sources, edits, masks)`` of all cases, (n,), made batch by batch."""
        parts = (torch.split(pictures, self.batch) for pictures in (self.cases.sources, self.edits, self.cases.masks))
        return torch.cat([measure(*part) for part in zip(*parts, strict=True)])

    def _embed(self, embed: Callable[[Any], Tensor], items: Tensor | Sequence[str]) -> Tensor:
        return torch.cat([embed(items[start : start + self.batch]) for start in range(0, len(items), self.batch)])


def _check_pictures(name: str, pictures: Tensor, channels: int) -> None:
    if pictures.ndim != 4 or pictures.shape[1] != channels:
        raise InputError(f"{name} of shape {tuple(pictures.shape)}: they must be (n, {channels}, height, width)")
    low, high = float(pictures.min()), float(pictures.max())
    if not (low >= 0 and high <= 1):  # false for NaN too
        raise InputError(f"{name} with values from {low:g} to {high:g}: they must be in [0, 1]")
