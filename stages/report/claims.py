"""The paper's claims and the project's own, tested against the scores: each with its effect, interval, n and verdict."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from stages.common.seeds import derive_seed
from stages.comparison.systems import CONTROLS
from stages.metrics.intervals import MIN_CASES, Interval, Values, bootstrap_of, jackknife_interval
from stages.metrics.scores import SystemScores
from stages.report.captions import DEFINITIONS, HOLDS, NAMES, too_few
from stages.report.paper import TABLE_1
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


PAPER_CLAIMS = (
    Claim(first="iedit_m", second="sdedit_as_iedit_m", metric="clip_score", effect="rise", at_least=2.4),
    Claim(first="iedit_m", second="sdedit_as_iedit_m", metric="ssim_m_bar_frame", effect="gap", at_least=45),
    Claim(first="iedit_m", second="sdedit_as_iedit_m", metric="fid", effect="fall", at_least=18),
    Claim(first="iedit_m", second="sdedit_as_iedit_m", metric="frechet_judge_features", effect="fall", at_least=18),
    Claim(first="iedit", second="sdedit_as_iedit", metric="clip_score", effect="rise", at_least=0),
    Claim(first="iedit", second="sdedit_as_iedit", metric="ssim_m_bar_frame", effect="points", at_least=0),
    Claim(first="iedit_m", second="instruct_pix2pix", metric="clip_score", effect="rise", at_least=0),
)
"""What Table 1 and Section 4.3 of the paper claim. SDEdit has the strength of the system that it is compared with."""
OWN_CLAIMS = (
    Claim(first="iedit", second="sdedit_as_iedit", metric="edit_success", effect="points", at_least=0),
    Claim(first="iedit", second="sdedit_as_iedit", metric="ssim_m_bar_frame", effect="points", at_least=-1),
    Claim(first="iedit_m", second="instruct_pix2pix", metric="edit_success", effect="points", at_least=0),
    Claim(first="iedit_m", second="instruct_pix2pix", metric="ssim_m_bar_frame", effect="points", at_least=0),
    Claim(first="iedit_m", second="inpainting", metric="ssim_m_bar_frame", effect="points", at_least=-1),
    Claim(first="iedit_m", second="inpainting", metric="edit_success", effect="points", at_least=0),
    Claim(first="iedit_m", second="inpainting", metric="ssim_m_region", effect="points", at_least=0),
)
"""What this project wants to show beyond the paper."""
CONTROL_NAMES = dict.fromkeys(CONTROLS, "SDEdit at its strength")
TRAININGS = "1"  # behind Table 1; the seeds of Table 2 show how much another training differs
PAPER_NOTE = (
    "The paper's effects are those of its Tables 1 (a), generated pictures, and (b), real ones. Wanted is about the smaller of"
    " the two for iEdit-M against SDEdit, and any gain elsewhere. The paper's distance is FID, and its InstructPix2Pix the"
    " released one."
)
EITHER = "Against inpainting, iEdit-M need be ahead in only one of edit success and SSIM-M (region)."
RULE = (
    "n counts the cases that both systems define, seeds the trainings behind them. A claim holds if its effect is as large as"
    " wanted and its interval lies above zero, or above the loss that is allowed."
)


@dataclass(frozen=True, kw_only=True)
class ClaimTable:
    """Claims as text: the first column names them, the last says whether they hold, the others are numbers."""

    title: str
    heading: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str


def judge_claims(scores: Mapping[str, SystemScores], resamples: int, seed: int) -> list[Verdict]:
    """Return a verdict on each of PAPER_CLAIMS and OWN_CLAIMS whose metric was measured.

    Args:
        scores: system → its scores; every system of the claims, on the same cases.
        resamples: number of bootstrap samples.
        seed: the pipeline's seed.
    """
    verdicts = []
    for claim in (*PAPER_CLAIMS, *OWN_CLAIMS):
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


def claim_tables(verdicts: Sequence[Verdict], names: Mapping[str, str] = NAMES) -> list[ClaimTable]:
    """Return the table of the paper's claims, with the paper's own effects, and that of the project's.

    A claim that is not judged has no interval.

    A case that leaves the metric of one of the two systems undefined is left out; n counts the others.

    Args:
        verdicts: from ``judge_claims``.
        names: system of SYSTEMS → its name.
    """
    names = CONTROL_NAMES | dict(names)
    found = ("Wanted", "Found", "n", "Seeds", "Holds")
    papers, own = [], []
    for verdict in verdicts:
        claim = verdict.claim
        words = f"{names[claim.first]} against {names[claim.second]}: {LABELS[claim.metric]}, {EFFECTS[claim.effect][0]}"
        if claim in PAPER_CLAIMS:
            effects = (f"{effect:+.1f}" for effect in paper_effects(claim).values())
            papers.append((words, *effects, *_verdict_cells(verdict)))
        else:
            own.append((words, *_verdict_cells(verdict)))
    return [
        ClaimTable(
            title="The paper's claims",
            heading=("Claim", *(f"Paper, {name}" for name in TABLE_1), *found),
            rows=papers,
            note=PAPER_NOTE,
        ),
        ClaimTable(title="This project's claims", heading=("Claim", *found), rows=own, note=EITHER),
    ]


def paper_effects(claim: Claim) -> dict[str, float]:
    """Return the effect of one of PAPER_CLAIMS in the paper's Table 1, whose distance is FID: generated or real → effect."""
    _, effect = EFFECTS[claim.effect]
    second = "sdedit" if claim.second in CONTROLS else claim.second
    metric = "fid" if claim.metric == "frechet_judge_features" else claim.metric
    return {name: effect(table[claim.first][metric], table[second][metric]) for name, table in TABLE_1.items()}


def markdown_claims(tables: Sequence[ClaimTable]) -> str:
    """Return the claims as Markdown tables, each below its title and above its note."""
    lines = []
    for table in tables:
        lines += [f"**{table.title}**", "", f"| {' | '.join(table.heading)} |"]
        lines += ["|---|" + "---:|" * (len(table.heading) - 2) + "---|"]
        lines += [*(f"| {' | '.join(row)} |" for row in table.rows), "", table.note, ""]
    return "\n".join(lines)


def claims_page(tables: Sequence[ClaimTable], cases: int, note: str = "") -> str:
    """Return the content of claims.md: the claims with their caption.

    Args:
        tables: from ``claim_tables``.
        cases: number of cases.
        note: one more sentence for the caption.
    """
    caption = too_few(cases) or f"95 % intervals. {RULE}"
    return f"{markdown_claims(tables)}\n{' '.join(filter(None, (caption, note, DEFINITIONS)))}\n"


def _verdict_cells(verdict: Verdict) -> tuple[str, ...]:
    """Return what is wanted, what was found with its interval, n, seeds, and whether the claim holds."""
    at_least, found = verdict.claim.at_least, verdict.found
    shown = f"{found.value:+.2f}" if math.isfinite(found.value) else "undefined"
    if math.isfinite(found.value) and verdict.holds is not None:
        shown += f" [{found.low:+.2f}, {found.high:+.2f}]"
    return f"≥ {at_least:g}" if at_least else "> 0", shown, str(found.n), TRAININGS, HOLDS[verdict.holds]


def _effect_of_sets(
    effect: Callable[[float, float], float], first: SystemScores, second: SystemScores, metric: str
) -> Interval:
    value = effect(first.of_set[metric].value, second.of_set[metric].value)
    without: Values = effect(first.without[metric], second.without[metric])  # type: ignore[arg-type,assignment]  # of arrays too
    return jackknife_interval(value, without, min(first.of_set[metric].n, second.of_set[metric].n))
