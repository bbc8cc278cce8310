"""The scores of one system on all cases."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.core.errors import InputError
from stages.metrics.evidence import Cases, Evidence
from stages.metrics.intervals import Interval, Values, jackknife
from stages.metrics.table import CASE_METRICS, SET_METRICS, CaseMetric
from stages.models.clip import Clip
from stages.models.inception import Inception
from stages.models.vgg import Vgg


@dataclass(frozen=True, kw_only=True)
class SystemScores:
    """The scores of one system on n cases."""

    per_case: Mapping[str, Values]  # metric of single cases → (n,), NaN where undefined
    of_set: Mapping[str, Interval]  # metric of the whole set → its value
    failed: NDArray[np.bool_]  # (n,), whether the edit has an empty mask, so that its picture is the source
    without: Mapping[str, Values] = field(default_factory=dict)  # the same → its values without one group of cases at a time

    def __len__(self) -> int:
        return len(next(iter(self.per_case.values())))


@torch.no_grad()
def score_system(
    cases: Cases, edits: Tensor, failed: Tensor, judge: Clip, vgg: Vgg, *, batch: int, inception: Inception | None = None
) -> SystemScores:
    """Score the edits of one system by every metric of METRICS whose model is there. Sets of edits have the failed ones too.

    Args:
        cases: the n requested edits.
        edits: (n, 3, H, W) in [0, 1], in the order of the cases.
        failed: (n,), bool, on the CPU: whether an edit is its source because nothing was found to edit.
        judge: a CLIP that nothing was trained against.
        vgg: computes the features of the perceptual distance.
        batch: pictures, or texts, per forward pass.
        inception: computes the features of FID; None leaves FID out.

    Raises:
        InputError: the edits do not have the shape of the sources, or leave [0, 1], or the failures are not theirs.
    """
    evidence = Evidence(cases=cases, edits=edits, judge=judge, vgg=vgg, batch=batch, inception=inception)
    if failed.shape != (len(edits),):
        raise InputError(f"failures of shape {tuple(failed.shape)} for {len(edits)} edits: there must be one for each")
    of_cases = [metric for metric in CASE_METRICS if metric.is_measured(evidence)]
    of_sets = [metric for metric in SET_METRICS if metric.is_measured(evidence)]
    per_case = {metric.key: _measured(metric, evidence, failed).numpy() for metric in of_cases}
    distances = {metric.key: jackknife(metric.distance(evidence), len(edits)) for metric in of_sets}
    return SystemScores(
        per_case=per_case,
        of_set={name: interval for name, (interval, _) in distances.items()},
        without={name: without for name, (_, without) in distances.items()},
        failed=failed.numpy(),
    )


def _measured(metric: CaseMetric, evidence: Evidence, failed: Tensor) -> Tensor:
    """Return a metric of every case, (n,); what is undefined for every system stays so for a failed edit."""
    values = metric.measure(evidence).double().cpu()
    return values if metric.when_failed is None else values.masked_fill(failed & ~values.isnan(), metric.when_failed)
