"""The paper's claims, tested against the scores: each with its effect, the effect's interval, and whether it holds."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from stages.common.seeds import derive_seed
from stages.comparison.systems import CONTROLS
from stages.metrics.intervals import MIN_CASES, Interval, Values, bootstrap_of, jackknife_interval
from stages.metrics.scores import SystemScores
from stages.report.captions import DEFINITIONS, NAMES, too_few
from stages.report.results import LABELS

Effect = Literal["points", "rise", "fall", "gap"]
EFFECTS: dict[Effect, tuple[str, Callable[[float, float], float]]] = {
    "points": ("difference in points", lambda first, second: first - second),
    "rise": ("rise in %", lambda first, second: 100 * (first / second - 1)),
    "fall": ("cut in %", lambda first, second: 100 * (1 - first / second)),
    "gap": ("cut in % of what it lacks to 100", lambda first, second: 100 * (1 - (100 - first) / (100 - second))),
}
"""Kind of effect → (its name, the effect given the means of the first and the second system)."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The first system beats the second by at least ``at_least``."""

    first: str
    second: str
    metric: str
    effect: Effect
    at_least: float

    def holds(self, found: Interval) -> bool:
        """Return whether the effect is large enough and its interval lies above zero, or above the allowed loss."""
        return found.value >= self.at_least and found.low > min(self.at_least, 0.0)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A claim, the effect that was measured, and whether the claim holds."""

    claim: Claim
    found: Interval
    holds: bool | None  # None: too few cases to say


CLAIMS = (
    Claim(first="iedit_m", second="sdedit_as_iedit_m", metric="clip_score", effect="rise", at_least=2.4),
    Claim(first="iedit_m", second="sdedit_as_iedit_m", metric="ssim_m_bar_frame", effect="gap", at_least=45),
    Claim(first="iedit_m", second="sdedit_as_iedit_m", metric="fid", effect="fall", at_least=18),
    Claim(first="iedit_m", second="sdedit_as_iedit_m", metric="frechet_judge_features", effect="fall", at_least=18),
    Claim(first="iedit", second="sdedit_as_iedit", metric="clip_score", effect="rise", at_least=0),
    Claim(first="iedit", second="sdedit_as_iedit", metric="ssim_m_bar_frame", effect="points", at_least=0),
    Claim(first="iedit_m", second="instruct_pix2pix", metric="edit_success", effect="points", at_least=0),
    Claim(first="iedit_m", second="instruct_pix2pix", metric="ssim_m_bar_frame", effect="points", at_least=0),
    Claim(first="iedit_m", second="inpainting", metric="ssim_m_bar_frame", effect="points", at_least=-1),
    Claim(first="iedit_m", second="inpainting", metric="edit_success", effect="points", at_least=0),
    Claim(first="iedit_m", second="inpainting", metric="ssim_m_region", effect="points", at_least=0),
)
"""What the paper's Table 1 claims, against SDEdit at equal strength, and what follows from it for the other systems."""
CONTROL_NAMES = dict.fromkeys(CONTROLS, "SDEdit at its strength")
HOLDS = {True: "yes", False: "no", None: "not judged"}
EITHER = "Against inpainting, iEdit-M need be ahead in only one of edit success and SSIM-M (region)."


def judge_claims(scores: Mapping[str, SystemScores], resamples: int, seed: int) -> list[Verdict]:
    """Return a verdict on each of CLAIMS whose metric was measured.

    Args:
        scores: system → its scores; every system of CLAIMS, on the same cases.
        resamples: number of bootstrap samples.
        seed: the pipeline's seed.
    """
    verdicts = []
    for claim in CLAIMS:
        _, effect = EFFECTS[claim.effect]
        first, second = scores[claim.first], scores[claim.second]
        if claim.metric in first.per_case:
            values = (first.per_case[claim.metric], second.per_case[claim.metric])
            found = bootstrap_of(effect, *values, resamples, derive_seed(seed, "bootstrap", claim.metric))
        elif claim.metric in first.of_set:
            found = _effect_of_sets(effect, first, second, claim.metric)
        else:
            continue  # it needs a model that params.yaml does not name
        verdicts.append(Verdict(claim=claim, found=found, holds=claim.holds(found) if found.n >= MIN_CASES else None))
    return verdicts


def claim_rows(verdicts: Sequence[Verdict], names: Mapping[str, str] = NAMES) -> list[tuple[str, str, str, str]]:
    """Return (claim, wanted, found with its interval, yes or no) for each verdict; one that is not judged has no interval.

    Args:
        verdicts: from ``judge_claims``.
        names: system of SYSTEMS → its name.
    """
    names = CONTROL_NAMES | dict(names)
    rows = []
    for verdict in verdicts:
        claim, found = verdict.claim, verdict.found
        words = f"{names[claim.first]} against {names[claim.second]}: {LABELS[claim.metric]}, {EFFECTS[claim.effect][0]}"
        shown = f"{found.value:+.2f}" if math.isfinite(found.value) else "undefined"
        if math.isfinite(found.value) and verdict.holds is not None:
            shown += f" [{found.low:+.2f}, {found.high:+.2f}]"
        rows.append((words, f"≥ {claim.at_least:g}", shown, HOLDS[verdict.holds]))
    return rows


def markdown_claims(rows: Sequence[tuple[str, str, str, str]], cases: int, note: str = "") -> str:
    """Return the claims as a Markdown table with its caption.

    Args:
        rows: from ``claim_rows``.
        cases: number of cases.
        note: one more sentence for the caption.
    """
    caption = f"{too_few(cases) or f'n = {cases} cases, 95 % intervals.'} {EITHER}"
    lines = ["| Claim | Wanted | Found | Holds |", "|---|---:|---:|---|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join([*lines, "", " ".join(filter(None, (caption, note, DEFINITIONS))), ""])


def _effect_of_sets(
    effect: Callable[[float, float], float], first: SystemScores, second: SystemScores, metric: str
) -> Interval:
    value = effect(first.of_set[metric].value, second.of_set[metric].value)
    without: Values = effect(first.without[metric], second.without[metric])  # type: ignore[arg-type,assignment]  # of arrays too
    return jackknife_interval(value, without, len(first))
