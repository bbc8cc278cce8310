"""Table 2: what each loss, the prompts, the masks and the filtering of pairs contribute."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from stages.core.params_training import Losses
from stages.diffusion.losses import active_terms
from stages.metrics.intervals import MIN_CASES
from stages.metrics.table import count_key
from stages.report.captions import DEFINITIONS, HOLDS
from stages.report.formats import csv_text
from stages.report.paper import TABLE_2
from stages.report.results import HEADINGS

Scores = Mapping[str, float]
Found = Mapping[tuple[str, int], Mapping[str, Scores]]
"""(configuration, seed) → "iedit" or "iedit_m" → metric → its mean over the cases, and ``count_key`` → n."""
SEEDS = 3
"""How many trainings each row has by default."""
SHOWN = ("clip_score", "fid", "frechet_judge_features", "ssim_m_frame", "ssim_m_bar_frame", "edit_success")
"""The metrics in the table, as far as they were measured; the CSV file has all."""
TRUE_TARGETS = "true_targets"
"""The configuration that only the embedded world allows."""


@dataclass(frozen=True, kw_only=True)
class AblationRow:
    """A row: a configuration of ``conf/ablation``, edited by iEdit or, within predicted masks, by iEdit-M."""

    configuration: str
    system: str  # "iedit" or "iedit_m"
    trained_on: str


ROWS = {
    "web_captions": AblationRow(configuration="web_captions", system="iedit", trained_on="web captions"),
    "plain_noise": AblationRow(configuration="plain_noise", system="iedit", trained_on="edit prompts"),
    "plain_noise_perceptual": AblationRow(configuration="plain_noise_perceptual", system="iedit", trained_on="edit prompts"),
    "paper": AblationRow(configuration="paper", system="iedit", trained_on="edit prompts"),
    "paper_masked": AblationRow(configuration="paper", system="iedit_m", trained_on="edit prompts"),
    "unfiltered": AblationRow(configuration="unfiltered", system="iedit", trained_on="edit prompts, bad pairs kept"),
    "unfiltered_masked": AblationRow(configuration="unfiltered", system="iedit_m", trained_on="edit prompts, bad pairs kept"),
    "true_targets": AblationRow(configuration=TRUE_TARGETS, system="iedit", trained_on="edit prompts, true targets"),
    "true_targets_masked": AblationRow(configuration=TRUE_TARGETS, system="iedit_m", trained_on="edit prompts, true targets"),
    "guided": AblationRow(configuration="guided", system="iedit", trained_on="edit prompts"),
    "guided_masked": AblationRow(configuration="guided", system="iedit_m", trained_on="edit prompts"),
}
"""The paper's five rows, then: what filtering contributes, the ceiling of weak supervision, and the default."""


@dataclass(frozen=True, kw_only=True)
class RowClaim:
    """One row beats another on a metric by ``at_least`` points on average, and at all for every seed."""

    words: str
    better: str
    worse: str
    metric: str
    at_least: float = 0.0

    @property
    def paper_effect(self) -> str:
        """The difference in points in the paper's Table 2, or "" where that has no such rows."""
        if not {self.better, self.worse} <= TABLE_2.keys():
            return ""
        return f"{TABLE_2[self.better][self.metric] - TABLE_2[self.worse][self.metric]:+.2f}"


ROW_CLAIMS = (
    RowClaim(
        words="Predicted masks at inference lift SSIM-M̄ by at least 10 points",
        better="paper_masked",
        worse="paper",
        metric="ssim_m_bar_frame",
        at_least=10.0,
    ),
    RowClaim(words="L_mask beats L_LDM on CLIPScore", better="paper", worse="plain_noise_perceptual", metric="clip_score"),
    RowClaim(words="L_perc helps CLIPScore", better="plain_noise_perceptual", worse="plain_noise", metric="clip_score"),
    RowClaim(
        words="Edit prompts beat web captions on CLIPScore",
        better="plain_noise",
        worse="web_captions",
        metric="clip_score",
    ),
    RowClaim(
        words="Edit prompts beat web captions on SSIM-M̄",
        better="plain_noise",
        worse="web_captions",
        metric="ssim_m_bar_frame",
    ),
    RowClaim(
        words="Filtering helps edit success (masked)",
        better="paper_masked",
        worse="unfiltered_masked",
        metric="edit_success",
    ),
    RowClaim(words="Filtering helps SSIM-M̄ (unmasked)", better="paper", worse="unfiltered", metric="ssim_m_bar_frame"),
    RowClaim(
        words="The guided base model alone beats the losses of Eq 12 on CLIPScore",
        better="guided",
        worse="paper",
        metric="clip_score",
    ),
    RowClaim(
        words="The guided base model alone beats the losses of Eq 12 on SSIM-M̄",
        better="guided",
        worse="paper",
        metric="ssim_m_bar_frame",
    ),
)


CLAIMS_NOTE = (
    "Paper: the difference in points in its Table 2, where that has the rows; its text (Section 4.4) has edit prompts ahead on"
    " CLIPScore, its table has them behind. n is the smallest number of cases that define the metric in one of the trainings."
    " A claim holds if the mean difference is as large as stated and every seed agrees."
)


def ablation_markdown(found: Found, losses: Mapping[str, Losses]) -> str:
    """Return the table and its claims as Markdown.

    A cell is mean ± standard deviation over the seeds. A claim compares two rows seed by seed. The rows of true targets are
    left out if they have no scores: only the embedded world can draw a true target.

    Args:
        found: the scores of every model.
        losses: configuration → the losses that it trains with.
    """
    seeds = len(_seeds(found))
    note = (
        f"Mean ± standard deviation of {seeds} trainings, each with a seed of its own. Every row is sampled as iEdit-M is in"
        f" Table 1, so that rows with and without masks differ in nothing else. {DEFINITIONS}"
    )
    return "\n".join([*_table(found, losses), "", note, "", *_judged(found), "", CLAIMS_NOTE, ""])


def ablation_csv(found: Found) -> str:
    """Return every metric of every model as CSV, one number per line."""
    lines = [
        [configuration, seed, system, metric, f"{value:.6g}"]
        for (configuration, seed), systems in found.items()
        for system, scores in systems.items()
        for metric, value in scores.items()
    ]
    return csv_text(["configuration", "seed", "system", "metric", "value"], lines)


def _table(found: Found, losses: Mapping[str, Losses]) -> list[str]:
    shown = [key for key in SHOWN if all(key in scores for systems in found.values() for scores in systems.values())]
    headings = [HEADINGS[key] for key in shown]
    lines = [f"| Row | Losses | Trained on | Masks | {' | '.join(headings)} |", "|---|---|---|---|" + "---:|" * len(shown)]
    configurations = {name for name, _ in found}
    for name, row in ROWS.items():
        if row.configuration == TRUE_TARGETS and TRUE_TARGETS not in configurations:
            continue
        cells = [_spread(_values(found, name, metric)) for metric in shown]
        label = " + ".join(term.symbol for term in active_terms(losses[row.configuration]))
        masks = "predicted" if row.system == "iedit_m" else "none"
        lines.append(f"| {name} | {label} | {row.trained_on} | {masks} | {' | '.join(cells)} |")
    return lines


def _judged(found: Found) -> list[str]:
    """Return the table of claims."""
    lines = ["| Claim | Rows | Paper | Difference | n | Seeds that agree | Holds |", "|---|---|---:|---:|---:|---:|---|"]
    for claim in ROW_CLAIMS:
        rows = (claim.better, claim.worse)
        better, worse = (_values(found, row, claim.metric) for row in rows)
        differences = [first - second for first, second in zip(better, worse, strict=True)]
        agreeing = sum(difference > 0 for difference in differences)
        n = int(min(min(_values(found, row, count_key(claim.metric))) for row in rows))
        holds = statistics.mean(differences) >= claim.at_least and agreeing == len(differences)
        lines.append(
            f"| {claim.words} | {', '.join(rows)} | {claim.paper_effect} | {_spread(differences)} | {n}"
            f" | {agreeing} of {len(differences)} | {HOLDS[holds if n >= MIN_CASES else None]} |"
        )
    return lines


def _values(found: Found, name: str, metric: str) -> list[float]:
    """Return a metric of a row for each seed."""
    row = ROWS[name]
    return [found[row.configuration, seed][row.system][metric] for seed in _seeds(found)]


def _seeds(found: Found) -> list[int]:
    return sorted({seed for _, seed in found})


def _spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"
