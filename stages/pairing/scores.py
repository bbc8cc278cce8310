"""The scores of a pair that a threshold of params.yaml judges, or could judge."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.core.files import value_digest
from stages.core.params import Params
from stages.models.hub import identity
from stages.pairing.columns import SCORES as COSINES

MEASURED = (*COSINES, "source_mask_area", "target_mask_area")
"""The columns of the training set that scores are computed from."""

Measured = Mapping[str, Any]  # column of MEASURED → a number, or an array of them


@dataclass(frozen=True, kw_only=True)
class Score:
    """A number that may say how good a pair is."""

    name: str
    explanation: str
    of: Callable[[Measured], Any]  # for one pair, or for arrays of many
    is_better_high: bool = True
    parameter: str | None = None  # its threshold in params.yaml
    threshold: Callable[[Params], float | None] = lambda _: None  # from which a pair is accepted; None: not in use
    is_switch: bool = False  # whether the parameter only switches its threshold on or off

    def goodness(self, measured: Measured) -> Any:
        """Return the score, or its negative where low ones are better."""
        return self.of(measured) if self.is_better_high else -self.of(measured)


QUALITY = (
    Score(
        name="prompt shown",
        explanation="cosine of edit prompt and target",
        of=lambda x: x["text_image"],
        parameter="retrieve.min_text_image",
        threshold=lambda params: params.retrieve.min_text_image,
    ),
    Score(
        name="gain",
        explanation="how much closer the target is to the edit prompt than the source is",
        of=lambda x: x["text_image"] - x["text_source"],
        parameter="retrieve.text_gain",
        threshold=lambda params: 0.0 if params.retrieve.text_gain else None,
        is_switch=True,
    ),
    Score(
        name="direction",
        explanation="cosine of the change of image and the change of text",
        of=lambda x: x["directional"],
        parameter="retrieve.min_directional",
        threshold=lambda params: params.retrieve.min_directional,
    ),
    Score(
        name="likeness",
        explanation="cosine of source and target",
        of=lambda x: x["image_image"],
        parameter="retrieve.min_image_image",
        threshold=lambda params: params.retrieve.min_image_image,
    ),
    Score(
        name="difference",
        explanation="cosine of source and target, where a low one is better: they are not the same picture",
        of=lambda x: x["image_image"],
        is_better_high=False,
        parameter="retrieve.near_duplicate",
        threshold=lambda params: params.retrieve.near_duplicate,
    ),
    Score(name="query", explanation="cosine of query and target, which ranks the candidates", of=lambda x: x["query"]),
    Score(
        name="smallest mask",
        explanation="area of the smaller mask, a share of the picture",
        of=lambda x: np.minimum(x["source_mask_area"], x["target_mask_area"]),
        parameter="segment.min_area",
        threshold=lambda params: params.segment.min_area,
    ),
    Score(
        name="largest mask",
        explanation="area of the larger mask, a share of the picture, where a small one is better",
        of=lambda x: np.maximum(x["source_mask_area"], x["target_mask_area"]),
        is_better_high=False,
        parameter="segment.max_area",
        threshold=lambda params: params.segment.max_area,
    ),
)
"""The scores by which pairs can be ordered and thresholds judged."""


def score_named(name: str) -> Score:
    """Return a score of QUALITY."""
    return next(score for score in QUALITY if score.name == name)


def measuring_digest(params: Params) -> str:
    """Return a digest of the models behind the scores: scores of other models cannot be compared with theirs."""
    segment = params.segment
    return value_digest([identity(params.retrieve.clip), identity(segment.model), segment.threshold])
