"""The scores of one system on all cases."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from stages.metrics.evidence import Cases, Evidence
from stages.metrics.intervals import Interval, Values, jackknife
from stages.metrics.table import CASE_METRICS, SET_METRICS
from stages.models.clip import Clip
from stages.models.inception import Inception
from stages.models.vgg import Vgg


@dataclass(frozen=True, kw_only=True)
class SystemScores:
    """The scores of one system on n cases."""

    per_case: Mapping[str, Values]  # metric of single cases → (n,), NaN where undefined
    of_set: Mapping[str, Interval]  # metric of the whole set → its value
    without: Mapping[str, Values] = field(default_factory=dict)  # the same → its values without one group of cases at a time

    def __len__(self) -> int:
        return len(next(iter(self.per_case.values())))


@torch.no_grad()
def score_system(
    cases: Cases, edits: Tensor, judge: Clip, vgg: Vgg, *, batch: int, inception: Inception | None = None
) -> SystemScores:
    """Score the edits of one system by every metric of METRICS whose model is there.

    Args:
        cases: the n requested edits.
        edits: (n, 3, H, W) in [0, 1], in the order of the cases.
        judge: a CLIP that nothing was trained against.
        vgg: computes the features of the perceptual distance.
        batch: pictures, or texts, per forward pass.
        inception: computes the features of FID; None leaves FID out.

    Raises:
        InputError: the edits do not have the shape of the sources, or leave [0, 1].
    """
    evidence = Evidence(cases=cases, edits=edits, judge=judge, vgg=vgg, batch=batch, inception=inception)
    of_cases = [metric for metric in CASE_METRICS if metric.is_measured(evidence)]
    of_sets = [metric for metric in SET_METRICS if metric.is_measured(evidence)]
    per_case = {metric.key: metric.measure(evidence).double().cpu().numpy() for metric in of_cases}
    distances = {metric.key: jackknife(metric.distance(evidence), len(edits)) for metric in of_sets}
    return SystemScores(
        per_case=per_case,
        of_set={name: interval for name, (interval, _) in distances.items()},
        without={name: without for name, (_, without) in distances.items()},
    )
