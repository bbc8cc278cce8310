"""The scores of a system over all cases, and their summary: what reports/metrics.json holds."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import combinations
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.common.seeds import derive_seed
from stages.core.errors import InputError
from stages.metrics import clip, distribution, similarity
from stages.metrics.intervals import Interval, Values, bootstrap, jackknife, jackknife_interval, paired_difference
from stages.models.clip import Clip
from stages.models.vgg import Vgg

CROP_MARGIN = 0.25  # around the edited region, on each side


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A column of the results: its key in metrics.json, how it is shown, and what it is in one line."""

    key: str
    label: str
    better: Literal["higher", "lower", ""]
    decimals: int
    definition: str


METRICS = (
    Metric(
        key="clip_score",
        label="CLIPScore (%)",
        better="higher",
        decimals=2,
        definition="2.5 · max(cos, 0) · 100 of the edited picture and its edit prompt, by the judge.",
    ),
    Metric(
        key="clip_directional",
        label="Directional (%)",
        better="higher",
        decimals=2,
        definition="Cosine, times 100, of how the judge's picture embedding moved from source to edit and how its text"
        " embedding moved from the source's caption to the edit prompt.",
    ),
    Metric(
        key="edit_success",
        label="Edit success (%)",
        better="higher",
        decimals=1,
        definition="Share of the cases in which the judge, shown a square around the edited region, ranks the target term"
        " first among the terms that could stand there.",
    ),
    Metric(
        key="frechet_judge_features",
        label="Fréchet (judge features)",
        better="lower",
        decimals=2,
        definition="Fréchet distance of all edits to all sources in the judge's picture embeddings, scaled to a mean square"
        " of 1; 0 for an editor that changes nothing. Not FID, which is of Inception's features; biased upwards at small n.",
    ),
    Metric(
        key="kid_judge_features",
        label="KID (judge features)",
        better="lower",
        decimals=4,
        definition="Unbiased squared maximum mean discrepancy of edits and sources, cubic kernel, same features; no edit is"
        " compared with its own source.",
    ),
    Metric(
        key="clip_image",
        label="CLIP-I (%)",
        better="",
        decimals=2,
        definition="Cosine, times 100, of the judge's embeddings of edit and source. High where little was changed at all.",
    ),
    Metric(
        key="ssim_m_frame",
        label="SSIM-M (frame, %)",
        better="",
        decimals=2,
        definition="SSIM of edit and source after both are multiplied by the mask. Neither high nor low is better: the edited"
        " region should change, but keep its structure.",
    ),
    Metric(
        key="ssim_m_bar_frame",
        label="SSIM-M̄ (frame, %)",
        better="higher",
        decimals=2,
        definition="SSIM of edit and source after both are multiplied by 1 - mask: what should not change.",
    ),
    Metric(
        key="ssim_m_region",
        label="SSIM-M (region, %)",
        better="",
        decimals=2,
        definition="Mean of the SSIM map of the untouched pictures inside the mask.",
    ),
    Metric(
        key="ssim_m_bar_region",
        label="SSIM-M̄ (region, %)",
        better="higher",
        decimals=2,
        definition="Mean of the SSIM map of the untouched pictures outside the mask.",
    ),
    Metric(
        key="perceptual_outside",
        label="Perceptual outside",
        better="lower",
        decimals=4,
        definition="Squared distance of unit-length VGG features of edit and source outside the mask, mean over positions and"
        " five layers (LPIPS without learnt weights). 0 where nothing outside was touched.",
    ),
)
ALIASES = {"ssim_m": "ssim_m_frame", "ssim_m_bar": "ssim_m_bar_frame"}
"""Short names in metrics.json → the form that the paper's magnitudes fit."""


@dataclass(frozen=True, kw_only=True)
class Cases:
    """The edits asked for, n of them, in a fixed order.

    Raises:
        InputError: counts, shapes or ranges do not fit; candidates lack their target.
    """

    sources: Tensor  # (n, 3, H, W) in [0, 1]
    masks: Tensor  # (n, 1, H, W) in [0, 1], 1 where the edit belongs
    captions: Sequence[str]  # of the sources
    prompts: Sequence[str]  # of the edits
    target_terms: Sequence[str]  # what the edited region must show: "blue car"
    candidates: Sequence[Sequence[str]]  # for each case, what could stand there, the target among it; each counts once

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


@dataclass(frozen=True, kw_only=True)
class SystemScores:
    """What one system scored: (n,) for each metric of single cases, NaN where undefined; a number for each of the set."""

    per_case: Mapping[str, Values]
    of_set: Mapping[str, Interval]
    without: Mapping[str, Values] = field(default_factory=dict)  # those of the set, without a group of cases at a time

    def __len__(self) -> int:
        return len(next(iter(self.per_case.values())))


@torch.no_grad()
def score_system(cases: Cases, edits: Tensor, judge: Clip, vgg: Vgg, *, batch: int) -> SystemScores:
    """Score the edits of one system by every metric of METRICS.

    Args:
        cases: what was asked.
        edits: (n, 3, H, W) in [0, 1], in the order of the cases.
        judge: a CLIP that nothing was trained against. Its embeddings, times √d, are the features of the set metrics:
            their components then have mean square 1, so that KID's x·y/d is the cosine.
        vgg: for the perceptual distance.
        batch: pictures, or texts, of one forward pass.
    """
    _check_pictures("edits", edits, channels=3)
    if edits.shape != cases.sources.shape:
        raise InputError(f"edits of shape {tuple(edits.shape)} for sources of {tuple(cases.sources.shape)}")
    source_pictures = _embed(judge.embed_pictures, cases.sources, batch)
    edited_pictures = _embed(judge.embed_pictures, edits, batch)
    captions = _embed(judge.embed_texts, cases.captions, batch)
    prompts = _embed(judge.embed_texts, cases.prompts, batch)
    embeddings = (source_pictures, edited_pictures, captions, prompts)
    per_case = {
        "clip_score": clip.clip_score(edited_pictures, prompts),
        "clip_directional": clip.directional_similarity(*embeddings),
        "clip_image": clip.image_similarity(source_pictures, edited_pictures),
        "edit_success": _edit_success(cases, edits, judge, batch),
        **_similarities(cases, edits, vgg, batch),
    }
    of_set, without = _set_distances(source_pictures, edited_pictures)
    return SystemScores(
        per_case={name: values.double().cpu().numpy() for name, values in per_case.items()}, of_set=of_set, without=without
    )


def summarise(
    scores: Mapping[str, SystemScores],
    *,
    resamples: int,
    seed: int,
    models: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what metrics.json holds; every number finite, or null where no case defines it.

    ``systems`` holds values, ``intervals`` their 95 % intervals, ``undefined`` how many cases each leaves out, ``cases``
    how many there are, ``models`` what the numbers were measured with. ``differences`` holds, for every system and each
    one before it, the mean difference over the cases where both are defined, or that of the two distances.

    Args:
        scores: system → its scores; all on the same cases in the same order.
        resamples: of the bootstrap.
        seed: of the pipeline.
        models: JSON, for example ``{"judge": {"name": …, "identity": …}}``.
    """
    counts = {system: len(result) for system, result in scores.items()}
    if len(set(counts.values())) != 1:
        raise InputError(f"scores of systems on different cases: {counts}")

    def draws(metric: str) -> int:  # one seed for all systems: they are resampled alike
        return derive_seed(seed, "bootstrap", metric)

    systems = {
        system: {name: bootstrap(values, resamples, draws(name)) for name, values in result.per_case.items()}
        | dict(result.of_set)
        for system, result in scores.items()
    }
    differences: dict[str, dict[str, dict[str, Interval]]] = {}
    for earlier, later in combinations(scores, 2):
        first, second = scores[later], scores[earlier]
        differences.setdefault(later, {})[earlier] = {
            name: paired_difference(values, second.per_case[name], resamples, draws(name))
            for name, values in first.per_case.items()
        } | {
            name: jackknife_interval(
                first.of_set[name].value - second.of_set[name].value, without - second.without[name], len(first)
            )
            for name, without in first.without.items()
        }
    return {
        "cases": next(iter(counts.values())),
        "systems": _tree(systems, lambda interval: _finite(interval.value)),
        "intervals": _tree(systems, lambda interval: [_finite(interval.low), _finite(interval.high)]),
        "undefined": _tree(systems, lambda interval: interval.undefined),
        "differences": {
            later: {
                earlier: {name: _as_json(interval) for name, interval in found.items()} for earlier, found in others.items()
            }
            for later, others in differences.items()
        },
        "models": dict(models),
    }


def _similarities(cases: Cases, edits: Tensor, vgg: Vgg, batch: int) -> dict[str, Tensor]:
    parts = []
    for source, edit, mask in zip(*(torch.split(x, batch) for x in (cases.sources, edits, cases.masks)), strict=True):
        parts.append(
            {
                "ssim_m_frame": similarity.ssim_frame(source, edit, mask),
                "ssim_m_bar_frame": similarity.ssim_frame(source, edit, 1 - mask),
                "ssim_m_region": similarity.ssim_region(source, edit, mask),
                "ssim_m_bar_region": similarity.ssim_region(source, edit, 1 - mask),
                "perceptual_outside": similarity.perceptual_outside(vgg, source, edit, mask),
            }
        )
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _edit_success(cases: Cases, edits: Tensor, judge: Clip, batch: int) -> Tensor:
    """Return (n,) of 100, 0, or NaN: an empty mask leaves no region to look at."""
    crops = clip.crop_regions(edits, cases.masks, judge.size, CROP_MARGIN)
    distinct = [list(dict.fromkeys(candidates)) for candidates in cases.candidates]
    terms = sorted({term for candidates in distinct for term in candidates})
    rows = {term: row for row, term in enumerate(terms)}
    embeddings = _embed(judge.embed_texts, terms, batch)
    success = clip.edit_success(
        _embed(judge.embed_pictures, crops, batch),
        [embeddings[[rows[term] for term in candidates]] for candidates in distinct],
        [candidates.index(target) for candidates, target in zip(distinct, cases.target_terms, strict=True)],
    )
    return success.where((cases.masks > 0.5).flatten(1).any(dim=1), torch.nan)


def _set_distances(sources: Tensor, edits: Tensor) -> tuple[dict[str, Interval], dict[str, Values]]:
    """Return the distances with their intervals, and what they are without a group of cases at a time."""
    first, second = (embeddings.double().cpu() * math.sqrt(embeddings.shape[1]) for embeddings in (sources, edits))
    terms = distribution.paired_terms(first, second)
    distances: dict[str, Callable[[NDArray[np.int64]], float]] = {
        "frechet_judge_features": lambda kept: distribution.frechet_distance(first[kept], second[kept]),
        "kid_judge_features": lambda kept: distribution.paired_kernel_distance(terms[kept][:, kept]),
    }
    found = {name: jackknife(distance, len(sources)) for name, distance in distances.items()}
    return {name: interval for name, (interval, _) in found.items()}, {name: without for name, (_, without) in found.items()}


def _embed(embed: Callable[[Any], Tensor], items: Tensor | Sequence[str], batch: int) -> Tensor:
    return torch.cat([embed(items[start : start + batch]) for start in range(0, len(items), batch)])


def _tree(systems: Mapping[str, Mapping[str, Interval]], take: Callable[[Interval], Any]) -> dict[str, dict[str, Any]]:
    """Return system → metric → what ``take`` makes of the interval, the short names included."""
    return {
        system: {name: take(results[ALIASES.get(name, name)]) for name in (*results, *ALIASES)}
        for system, results in systems.items()
    }


def _as_json(interval: Interval) -> dict[str, float | int | None]:
    return {name: _finite(value) for name, value in asdict(interval).items()}


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _check_pictures(name: str, pictures: Tensor, channels: int) -> None:
    if pictures.ndim != 4 or pictures.shape[1] != channels:
        raise InputError(f"{name} of shape {tuple(pictures.shape)}: they must be (n, {channels}, height, width)")
    low, high = float(pictures.min()), float(pictures.max())
    if not (low >= 0 and high <= 1):  # false for NaN too
        raise InputError(f"{name} with values from {low:g} to {high:g}: they must be in [0, 1]")
