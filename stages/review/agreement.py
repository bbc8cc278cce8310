"""How well scores and thresholds agree with reviewers' decisions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from stages.common.seeds import derive_seed
from stages.core.params import Params
from stages.pairing.decisions import Decision, Verdict, latest_decisions
from stages.pairing.scores import MEASURED, QUALITY, Score, measuring_digest

LEAST = 20  # kept pairs, and dropped pairs; with fewer an interval would span nearly everything

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What a threshold would have done to the reviewed pairs."""

    at: float
    dropped_refused: float  # share of the dropped pairs that it refuses, which should be 1
    kept_accepted: float  # share of the kept pairs that it accepts, which should be 1


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How well a score separates kept pairs from dropped ones."""

    auc: float  # probability that it ranks a kept pair above a dropped one; 0.5 is chance
    low: float  # 95 % interval
    high: float
    present: Cut | None  # the threshold in params.yaml; None if there is none
    best: Cut  # the threshold for which the sum of both shares is highest


def agree(score: Score, kept: Values, dropped: Values, threshold: float | None, resamples: int, seed: int) -> Agreement:
    """Compare a score with decisions.

    Args:
        score: says which values are better.
        kept: its values for the kept pairs, (k,), at least one.
        dropped: its values for the dropped pairs, (d,), at least one.
        threshold: the one in params.yaml.
        resamples: how often kept and dropped pairs are drawn with replacement for the interval.
        seed: decides the draws.
    """
    sign = 1 if score.is_better_high else -1
    good, bad = sign * kept, sign * dropped
    rng = np.random.default_rng(derive_seed(seed, "agreement", score.name))
    draws = [auc(rng.choice(good, len(good)), rng.choice(bad, len(bad))) for _ in range(resamples)]
    low, high = np.percentile(draws, [2.5, 97.5])
    cuts = [_cut(good, bad, at) for at in np.unique(np.concatenate([good, bad]))]
    best = max(cuts, key=lambda cut: cut.dropped_refused + cut.kept_accepted)
    present = None if threshold is None else _cut(good, bad, sign * threshold)
    return Agreement(
        auc=auc(good, bad),
        low=float(low),
        high=float(high),
        present=None if present is None else _signed(present, sign),
        best=_signed(best, sign),
    )


def auc(good: Values, bad: Values) -> float:
    """Return the share of pairs (one of ``good``, one of ``bad``) in which the good value is higher; equal ones count half."""
    ranks = rankdata(np.concatenate([good, bad]))[: len(good)]
    wins = ranks.sum() - len(good) * (len(good) + 1) / 2  # U of Mann and Whitney
    return float(wins / (len(good) * len(bad)))


def agreement_lines(file: Path, params: Params) -> Iterator[str]:
    """Yield the table of scores, line by line.

    Raises:
        InputError: the file of decisions is damaged.
    """
    latest = list(latest_decisions(file).values())
    measured_by = measuring_digest(params)
    usable = [each for each in latest if each.scored_by == measured_by and each.scores.keys() >= set(MEASURED)]
    kept, dropped = (_of_verdict(usable, verdict) for verdict in (Verdict.KEEP, Verdict.DROP))
    mended = len(_of_verdict(usable, Verdict.MEND))
    yield f"{len(kept):,} kept and {len(dropped):,} dropped pairs; {mended:,} mended ones are neither"
    if len(usable) < len(latest):
        yield f"{len(latest) - len(usable):,} decisions are left out: other models, or none, measured their scores"
    if min(len(kept), len(dropped)) < LEAST:
        yield f"nothing is shown below {LEAST} kept and {LEAST} dropped pairs"
        return
    shares = f"{'refuses':>9}{'accepts':>9}"
    yield f"{'':<15}{'AUC, 95 % interval':<20}{'threshold':>10}{shares}{'best at':>10}{shares}"
    for score in QUALITY:
        good, bad = (np.array([score.of(each.scores) for each in part], np.float64) for part in (kept, dropped))
        found = agree(score, good, bad, score.threshold(params), params.evaluate.bootstrap, params.seed)
        interval = f"{found.auc:.2f} [{found.low:.2f}, {found.high:.2f}]"
        yield f"{score.name:<15}{interval:<20}{_cut_text(found.present)}{_cut_text(found.best)}"
    yield "refuses: share of the dropped pairs below the threshold; accepts: share of the kept pairs not below it"


def _of_verdict(decisions: Sequence[Decision], verdict: Verdict) -> list[Decision]:
    return [each for each in decisions if each.decision is verdict]


def _cut(good: Values, bad: Values, at: float) -> Cut:
    return Cut(at=float(at), dropped_refused=float((bad < at).mean()), kept_accepted=float((good >= at).mean()))


def _signed(cut: Cut, sign: int) -> Cut:
    return Cut(at=sign * cut.at, dropped_refused=cut.dropped_refused, kept_accepted=cut.kept_accepted)


def _cut_text(cut: Cut | None) -> str:
    if cut is None:
        return f"{'–':>10}{'':>18}"
    return f"{cut.at:>10.2f}{cut.dropped_refused:>8.0%} {cut.kept_accepted:>8.0%} "
