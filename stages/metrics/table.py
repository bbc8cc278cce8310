"""The table of metrics. Scores, metrics.json, the report and every table of results follow from it.

A new metric is a function in a module of this folder and a row in METRICS.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.metrics import clip, distribution, similarity
from stages.metrics.evidence import Evidence

LEFT_OUT = torch.nan  # what a failed edit has of a likeness: it is the source, and would be as like it as can be
CROP_MARGIN = 0.25  # around the edited region on each side, as a share of its longer side

Distance = Callable[[NDArray[np.int64]], float]
"""Indices of the cases to keep, ascending → the distance of their edits to their sources."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A column of the results."""

    key: str  # in metrics.json
    label: str  # in tables
    better: Literal["higher", "lower", ""]  # empty where neither is
    decimals: int
    tolerance: float  # how far the scores of two kinds of processor may lie apart: a point for means on a scale of 100
    definition: str  # in one or two sentences
    alias: str = ""  # a short name in metrics.json, for the form that the paper's magnitudes fit
    needs: Literal["", "inception"] = ""  # a model of the evidence that params.yaml need not name

    def is_measured(self, evidence: Evidence) -> bool:
        """Whether the model that it needs is there."""
        return not self.needs or getattr(evidence, self.needs) is not None


@dataclass(frozen=True, kw_only=True)
class CaseMetric(Metric):
    """A metric that every case has; a system's score is the mean."""

    measure: Callable[[Evidence], Tensor]  # → (n,), NaN where undefined
    when_failed: float | None = None  # the value of a failed edit, where it is defined; None: that of what came out


@dataclass(frozen=True, kw_only=True)
class SetMetric(Metric):
    """A metric that only all cases together have."""

    distance: Callable[[Evidence], Distance]


def _edit_success(evidence: Evidence) -> Tensor:
    """Return (n,), 100 or 0; NaN for an empty mask, which leaves no region to judge."""
    cases, judge = evidence.cases, evidence.judge
    crops = clip.crop_regions(evidence.edits, cases.masks, judge.size, CROP_MARGIN)
    distinct = [list(dict.fromkeys(candidates)) for candidates in cases.candidates]
    terms = sorted({term for candidates in distinct for term in candidates})
    rows = {term: row for row, term in enumerate(terms)}
    embeddings = evidence.embed_texts(terms)
    success = clip.edit_success(
        evidence.embed_pictures(crops),
        [embeddings[[rows[term] for term in candidates]] for candidates in distinct],
        [candidates.index(target) for candidates, target in zip(distinct, cases.target_terms, strict=True)],
    )
    return success.where((cases.masks > 0.5).flatten(1).any(dim=1), torch.nan)


def _frechet(sources: Tensor, edits: Tensor) -> Distance:
    return lambda kept: distribution.frechet_distance(sources[kept], edits[kept])


def _kid(evidence: Evidence) -> Distance:
    terms = distribution.paired_terms(*evidence.features)
    return lambda kept: distribution.paired_kernel_distance(terms[kept][:, kept])


METRICS: tuple[CaseMetric | SetMetric, ...] = (
    CaseMetric(
        key="clip_score",
        label="CLIPScore (%)",
        better="higher",
        decimals=2,
        tolerance=1.0,
        definition="2.5 · max(cos, 0) · 100 of the edited picture and its edit prompt, by the judge.",
        measure=lambda found: clip.clip_score(found.edit_embeddings, found.prompt_embeddings),
    ),
    CaseMetric(
        key="clip_directional",
        label="Directional (%)",
        better="higher",
        decimals=2,
        tolerance=1.0,
        definition="Cosine, times 100, of two changes: that of the judge's picture embedding from source to edit, and that of"
        " its text embedding from the source's caption to the edit prompt.",
        measure=lambda found: clip.directional_similarity(
            found.source_embeddings, found.edit_embeddings, found.caption_embeddings, found.prompt_embeddings
        ),
    ),
    CaseMetric(
        key="clip_image",
        label="CLIP-I (%)",
        better="",
        decimals=2,
        tolerance=1.0,
        definition="Cosine, times 100, of the judge's embeddings of edit and source. High where little was changed at all.",
        when_failed=LEFT_OUT,
        measure=lambda found: clip.image_similarity(found.source_embeddings, found.edit_embeddings),
    ),
    CaseMetric(
        key="edit_success",
        label="Edit success (%)",
        better="higher",
        decimals=1,
        tolerance=3.0,  # one of 300 cases is a third of a point, and a rank flips at the smallest change
        definition="Share of the cases in which the judge, shown a square around the edited region, ranks the target term"
        " first among all that could stand there: every noun of the embedded world, or the noun in every colour or size; for"
        " cases of one's own, the terms of all cases with the same relation.",
        measure=_edit_success,
        when_failed=0.0,
    ),
    SetMetric(
        key="fid",
        label="FID",
        better="lower",
        decimals=1,
        tolerance=5.0,  # not measured; about 4 % of the paper's 108 to 180
        definition="Fréchet distance of all edits to all sources in Inception's pool3 features, as pytorch-fid computes it; 0"
        " for an editor that changes nothing. Strongly biased upwards at small n: it compares only with FIDs of as many cases.",
        needs="inception",
        distance=lambda found: _frechet(*found.inception_features),
    ),
    SetMetric(
        key="frechet_judge_features",
        label="Fréchet (judge features)",
        better="lower",
        decimals=2,
        tolerance=0.5,  # about 7 to 10 here; an estimate from few cases, sensitive to single edits
        definition="Fréchet distance of all edits to all sources in the judge's picture embeddings, scaled to a mean square"
        " of 1; 0 for an editor that changes nothing. Not FID, which uses Inception's features; biased upwards at small n.",
        distance=lambda found: _frechet(*found.features),
    ),
    SetMetric(
        key="kid_judge_features",
        label="KID (judge features)",
        better="lower",
        decimals=4,
        tolerance=0.01,  # about 0.1 here
        definition="Unbiased squared maximum mean discrepancy of edits and sources, cubic kernel, same features; no edit is"
        " compared with its own source.",
        distance=_kid,
    ),
    CaseMetric(
        key="ssim_m_frame",
        alias="ssim_m",
        label="SSIM-M (frame, %)",
        better="",
        decimals=2,
        tolerance=1.0,
        definition="SSIM of edit and source after both are multiplied by the mask. Neither high nor low is better: the edited"
        " region should change, but keep its structure.",
        measure=lambda found: found.by_batch(similarity.ssim_frame),
        when_failed=LEFT_OUT,
    ),
    CaseMetric(
        key="ssim_m_bar_frame",
        alias="ssim_m_bar",
        label="SSIM-M̄ (frame, %)",
        better="higher",
        decimals=2,
        tolerance=1.0,
        definition="SSIM of edit and source after both are multiplied by 1 - mask: what should not change.",
        measure=lambda found: found.by_batch(lambda source, edit, mask: similarity.ssim_frame(source, edit, 1 - mask)),
        when_failed=LEFT_OUT,
    ),
    CaseMetric(
        key="ssim_m_region",
        label="SSIM-M (region, %)",
        better="",
        decimals=2,
        tolerance=1.0,
        definition="Mean, inside the mask, of the SSIM map of the whole pictures.",
        measure=lambda found: found.by_batch(similarity.ssim_region),
        when_failed=LEFT_OUT,
    ),
    CaseMetric(
        key="ssim_m_bar_region",
        label="SSIM-M̄ (region, %)",
        better="higher",
        decimals=2,
        tolerance=1.0,
        definition="Mean, outside the mask, of the SSIM map of the whole pictures.",
        measure=lambda found: found.by_batch(lambda source, edit, mask: similarity.ssim_region(source, edit, 1 - mask)),
        when_failed=LEFT_OUT,
    ),
    CaseMetric(
        key="perceptual_outside",
        label="Perceptual outside",
        better="lower",
        decimals=4,
        tolerance=0.005,  # about 0.15 to 0.4 here
        definition="Squared distance of unit-length VGG features of edit and source outside the mask, mean over positions and"
        " five layers (LPIPS without learnt weights). 0 where nothing outside changed.",
        measure=lambda found: found.by_batch(
            lambda source, edit, mask: similarity.perceptual_outside(found.vgg, source, edit, mask)
        ),
        when_failed=LEFT_OUT,
    ),
)
CASE_METRICS = tuple(metric for metric in METRICS if isinstance(metric, CaseMetric))
SET_METRICS = tuple(metric for metric in METRICS if isinstance(metric, SetMetric))
ALIASES = {metric.alias: metric.key for metric in METRICS if metric.alias}
"""Short name in metrics.json → key."""


def count_key(metric: str) -> str:
    """Return the key, beside a metric's, of the number of cases that define it."""
    return f"{metric}.n"
