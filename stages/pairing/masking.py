"""Masks of what an edit changes, for each pair: the samples that training and evaluation read."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from torch import Tensor

from stages.common.parquet import batched
from stages.core.params import Segment
from stages.core.shards import Advance, ShardFiles, ShardResult, ShardTask, Work
from stages.corpus.samples import CorpusReader, EditSample, read_corpus, write_edits
from stages.models.segmenter import Segmenter, load_segmenter
from stages.pairing.columns import SCORES
from stages.pairing.rendered import render_target

PairRow = dict[str, Any]  # a row of the table of pairs, see columns.PAIR_COLUMNS
Target = tuple[Image.Image, str]  # a target's picture and its alt text


@dataclass(frozen=True, kw_only=True)
class CorpusText:
    """The texts and origins of the corpus's images, by key."""

    alt_texts: dict[str, str]
    origins: dict[str, Any]  # None where the source gave none


@dataclass(frozen=True, kw_only=True)
class MaskingWorker:
    """Masks the pairs of one shard."""

    modules: ClassVar = ("stages.models.segmenter",)
    config: Segment
    shards: tuple[Path, ...]  # of the corpus
    seed: int  # the pipeline's seed, to draw true targets
    size: int  # side of the pictures in pixels, to draw true targets

    def load(self) -> Work:
        """Load CLIPSeg."""
        segmenter, corpus = load_segmenter(self.config.model), CorpusReader(self.shards)
        return _Masking(config=self.config, segmenter=segmenter, corpus=corpus, seed=self.seed, size=self.size)


@dataclass(frozen=True, kw_only=True)
class _Masking:
    config: Segment
    segmenter: Segmenter
    corpus: CorpusReader
    seed: int  # the pipeline's seed, to draw true targets
    size: int  # side of the pictures in pixels, to draw true targets

    def __call__(self, task: ShardTask, files: ShardFiles, advance: Advance) -> ShardResult:
        """Write the pairs in ``task.settings`` as samples; pairs without a target or a usable mask are dropped.

        ``task.inputs`` are the corpus shards that hold the pairs' images.
        """
        result = ShardResult()
        text = _read_text(task.inputs)
        result.done = write_edits(files.output, self._mask_pairs(task.settings["pairs"], text, result, advance))
        return result

    def _mask_pairs(
        self, pairs: list[PairRow], text: CorpusText, result: ShardResult, advance: Advance
    ) -> Iterator[EditSample]:
        """Yield a sample for each usable pair, and count the others in ``result``."""
        for batch in batched(pairs, self.config.batch):
            targets = [self._find_target(pair, text) for pair in batch]
            found = [(pair, target) for pair, target in zip(batch, targets, strict=True) if target is not None]
            if len(found) < len(batch):
                result.dropped["no true target"] += len(batch) - len(found)
            if found:
                yield from self._mask_batch(found, result)
            advance(len(batch))

    def _find_target(self, pair: PairRow, text: CorpusText) -> Target | None:
        """Return the retrieved target of a pair or, if ``segment.targets`` says so, the true one; None if there is none."""
        if self.config.targets == "rendered":
            return render_target(text.origins[pair["key"]], pair, self.seed, self.size)
        return self.corpus.image(pair["target_key"]), text.alt_texts[pair["target_key"]]

    def _mask_batch(self, batch: Sequence[tuple[PairRow, Target]], result: ShardResult) -> Iterator[EditSample]:
        pairs = [pair for pair, _ in batch]
        sources = [self.corpus.image(pair["key"]) for pair in pairs]
        targets, alt_texts = zip(*(target for _, target in batch), strict=True)
        source_masks = self._masks(sources, [pair["source_diff"] for pair in pairs])
        target_masks = self._masks(targets, [pair["target_diff"] for pair in pairs])
        for place, pair in enumerate(pairs):
            m1, m2 = source_masks[place, 0], target_masks[place, 0]
            objection = mask_objection(m1, "source", self.config) or mask_objection(m2, "target", self.config)
            if objection is not None:
                result.dropped[objection] += 1
                continue
            yield EditSample(
                key=pair["key"],
                source=sources[place],
                target=targets[place],
                source_mask=mask_image(m1),
                target_mask=mask_image(m2),
                source_caption=pair["caption"],
                edit_prompt=pair["edit_prompt"],
                source_diff=pair["source_diff"],
                target_diff=pair["target_diff"],
                target_alt_text=alt_texts[place],
                metadata=_metadata(pair, m1, m2),
            )

    def _masks(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Tensor:
        """Return boolean masks (n, 1, height, width)."""
        return self.segmenter.probabilities(images, prompts) >= self.config.threshold


def mask_objection(mask: Tensor, side: str, config: Segment) -> str | None:
    """Return why a mask is unusable, or None if it is usable.

    Args:
        mask: boolean, (height, width).
        side: "source" or "target".
        config: the section ``segment`` with the limits of a mask's share of the picture.
    """
    area = mask.float().mean().item()
    if area == 0 or area < config.min_area:
        return f"{side} mask empty or below segment.min_area"
    if area == 1 or area > config.max_area:
        return f"{side} mask full or above segment.max_area"
    return None


def mask_image(mask: Tensor) -> Image.Image:
    """Return a boolean mask (height, width) as an "L" image of 0 and 255."""
    return Image.fromarray(mask.cpu().numpy().astype(np.uint8) * 255)


def _read_text(shards: Sequence[Path]) -> CorpusText:
    text = CorpusText(alt_texts={}, origins={})
    for sample in (sample for path in shards for sample in read_corpus(path)):
        text.alt_texts[sample.key], text.origins[sample.key] = sample.alt_text, sample.metadata.get("origin")
    return text


def _metadata(pair: Mapping[str, Any], m1: Tensor, m2: Tensor) -> dict[str, Any]:
    return {
        "target_key": pair["target_key"],
        "relation": pair["relation"],
        "source_mask_area": round(m1.float().mean().item(), 6),
        "target_mask_area": round(m2.float().mean().item(), 6),
        **{name: round(pair[name], 6) for name in SCORES},
    }
