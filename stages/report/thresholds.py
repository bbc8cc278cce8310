"""What each threshold of params.yaml drops, and what others would drop: the scores, to look at before choosing one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from stages.core.errors import InputError
from stages.core.params import Params
from stages.core.paths import EMBEDDINGS, INDEXES, MASKS, PAIRS
from stages.core.sidecars import SIDECAR_SUFFIX
from stages.pairing.scores import QUALITY, Measured, Score
from stages.pairing.selection import unusable
from stages.pairing.unfiltered import sample_targets
from stages.report.dataset import histogram
from stages.report.dataset_page import bars
from stages.report.night import read_column
from stages.report.rendering import render

SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)  # of the values, that a threshold might drop
AREAS = ("source_mask_area", "target_mask_area")


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A threshold, with the values that it judges."""

    score: Score
    at: float | None  # None: off
    values: NDArray[np.float64]  # (n,), n above 0

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """Which values pass it, (n,)."""
        if self.at is None:
            return np.ones(len(self.values), bool)
        return self.values >= self.at if self.score.is_better_high else self.values <= self.at

    @property
    def dropped(self) -> float:
        """The share of the values that it drops."""
        return float(1 - self.accepted.mean())

    def dropping(self, share: float) -> float:
        """Return the threshold that would drop a share of the values."""
        return float(np.quantile(self.values, share if self.score.is_better_high else 1 - share))


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """The thresholds on one kind of things."""

    found: str  # what their values are of, and what all of them do together
    each: Sequence[Threshold]


def measure_thresholds(params: Params) -> list[Thresholds]:
    """Return the thresholds of retrieve, on possible targets of a sample of edits; and those of segment, once there are masks.

    Raises:
        InputError: retrieve has not run to its end, or found no image for any edit.
    """
    measured = [_of_targets(params)]
    areas = (
        {name: read_column(MASKS, name, "float64").to_numpy() for name in AREAS}
        if any(MASKS.glob(f"*{SIDECAR_SUFFIX}"))
        else {}
    )
    if any(map(len, areas.values())):
        measured.append(_of_masks(areas, params))
    return measured


def threshold_lines(measured: Sequence[Thresholds]) -> Iterator[str]:
    """Yield the tables line by line."""
    for thresholds in measured:
        yield thresholds.found
        yield f"{'':<26}{'now':>8}{'drops':>8}  a threshold that drops"
        yield f"{'':<42}" + "".join(f"{share:>7.0%}" for share in SHARES)
        for parameter, now, dropped, others in map(_cells, thresholds.each):
            yield f"{parameter:<26}{now:>8}{dropped:>8}" + "".join(f"{other:>7}" for other in others)


def thresholds_page(measured: Sequence[Thresholds]) -> str:
    """Return the tables as a page, with a histogram of each score. It holds no date: equal arguments give equal bytes."""
    return render(
        "thresholds.html",
        columns=1,
        title="Thresholds",
        shares=[f"{share:.0%}" for share in SHARES],
        tables=[(each.found, map(_cells, each.each)) for each in measured],
        plots=[(each.score.explanation, _plot(each)) for thresholds in measured for each in thresholds.each],
        credits_line="",
    )


def _of_targets(params: Params) -> Thresholds:
    targets = sample_targets(EMBEDDINGS, INDEXES, params.retrieve, params.seed)
    if not len(targets.edit_of):
        raise InputError(f"{PAIRS}: there is no edit with another image, so there are no scores")
    each = _thresholds("retrieve.", targets.scores, params)
    passes: NDArray[np.bool_] = np.all([threshold.accepted for threshold in each], axis=0)
    without = 1 - len(np.unique(targets.edit_of[passes])) / targets.edits
    return Thresholds(
        found=f"{len(passes):,} possible targets of {targets.edits:,} edits (the retrieve.neighbours ="
        f" {params.retrieve.neighbours} nearest images): together the thresholds drop {1 - passes.mean():.1%} of them,"
        f" and {without:.1%} of the edits have none left",
        each=each,
    )


def _of_masks(areas: Mapping[str, NDArray[np.float64]], params: Params) -> Thresholds:
    limits = params.segment.min_area, params.segment.max_area
    dropped = np.any([part for values in areas.values() for part in unusable(values, *limits)], axis=0)
    return Thresholds(
        found=f"{len(dropped):,} pairs with masks: together the thresholds drop {dropped.mean():.1%} of them, empty and full"
        " masks included",
        each=_thresholds("segment.", areas, params),
    )


def _thresholds(section: str, measured: Measured, params: Params) -> list[Threshold]:
    return [
        Threshold(score=score, at=_in_use(score, params), values=np.asarray(score.of(measured), np.float64))
        for score in QUALITY
        if score.parameter is not None and score.parameter.startswith(section)
    ]


def _in_use(score: Score, params: Params) -> float | None:
    """Return the threshold on a score; None if it is off, as the least cosine of -1 is."""
    at = score.threshold(params)
    return None if at is None or (score.is_better_high and at <= -1) else at


def _cells(threshold: Threshold) -> tuple[str, str, str, list[str]]:
    """Return a row of the table: the parameter, its value, what it drops, and the values, if any, that would drop SHARES."""
    is_switch = threshold.score.is_switch
    now = "off" if threshold.at is None else "on" if is_switch else f"{threshold.at:g}"
    others = ["" if is_switch else f"{threshold.dropping(share):.3f}" for share in SHARES]
    return str(threshold.score.parameter), now, f"{threshold.dropped:.1%}", others


def _plot(threshold: Threshold) -> Markup:
    limits = {} if threshold.at is None else {str(threshold.score.parameter): threshold.at}
    return bars(histogram(threshold.values), threshold.score.explanation, limits)
