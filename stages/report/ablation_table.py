"""Table 2: what each loss, the prompts, the masks, and the filtering of pairs are worth."""

import csv
import io
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

Scores = Mapping[str, float]
Found = Mapping[tuple[str, int], Mapping[str, Scores]]
"""(configuration, seed) → "iedit" or "iedit_m" → metric → its mean over the cases."""
SEEDS = 3
"""How many trainings each row has, where no other number is asked for."""
SHOWN = {
    "clip_score": "CLIPScore (%) ↑",
    "frechet_judge_features": "Fréchet (judge features) ↓",
    "ssim_m_frame": "SSIM-M (frame, %)",
    "ssim_m_bar_frame": "SSIM-M̄ (frame, %) ↑",
    "edit_success": "Edit success (%) ↑",
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row: a configuration of ``conf/ablation``, and whether it edits within predicted masks."""

    configuration: str
    system: str
    losses: str
    prompts: str


SAMPLED = "All are sampled as iEdit-M is in Table 1, those without masks too, so that the masks are all that differs."
TRUE_TARGETS = "true_targets"
"""The configuration that only the embedded world allows."""
ROWS = (
    Row(configuration="web_captions", system="iedit", losses="L_global + L_paired", prompts="web captions"),
    Row(configuration="plain_noise", system="iedit", losses="L_global + L_LDM + L_loc", prompts="edit prompts"),
    Row(
        configuration="plain_noise_perceptual",
        system="iedit",
        losses="L_global + L_LDM + L_loc + L_perc",
        prompts="edit prompts",
    ),
    Row(configuration="paper", system="iedit", losses="L_global + L_mask + L_loc + L_perc", prompts="edit prompts"),
    Row(configuration="paper", system="iedit_m", losses="the same, predicted masks at inference", prompts="edit prompts"),
    Row(configuration="unfiltered", system="iedit", losses="as row 4", prompts="edit prompts, bad pairs kept"),
    Row(configuration="unfiltered", system="iedit_m", losses="as row 5", prompts="edit prompts, bad pairs kept"),
    Row(configuration=TRUE_TARGETS, system="iedit", losses="as row 4", prompts="edit prompts, true targets"),
    Row(configuration=TRUE_TARGETS, system="iedit_m", losses="as row 5", prompts="edit prompts, true targets"),
    Row(configuration="guided", system="iedit", losses="L_guided alone", prompts="edit prompts"),
    Row(configuration="guided", system="iedit_m", losses="the same, predicted masks", prompts="edit prompts"),
)
"""The paper's five, then what filtering is worth, the ceiling of weak supervision, and the pipeline as it is."""
CLAIMS = (
    ("Predicted masks at inference lift SSIM-M̄ by at least 15 points", 4, 3, "ssim_m_bar_frame", 15.0),
    ("L_mask beats L_LDM on CLIPScore", 3, 2, "clip_score", 0.0),
    ("L_perc helps CLIPScore", 2, 1, "clip_score", 0.0),
    ("Edit prompts beat web captions on CLIPScore", 1, 0, "clip_score", 0.0),
    ("Edit prompts beat web captions on SSIM-M̄", 1, 0, "ssim_m_bar_frame", 0.0),
    ("Filtering helps edit success (masked)", 4, 6, "edit_success", 0.0),
    ("Filtering helps SSIM-M̄ (unmasked)", 3, 5, "ssim_m_bar_frame", 0.0),
    ("The guided base model alone beats the losses of Eq 12 on CLIPScore", 9, 3, "clip_score", 0.0),
    ("The guided base model alone beats the losses of Eq 12 on SSIM-M̄", 9, 3, "ssim_m_bar_frame", 0.0),
)
"""(words, places of the better and of the worse row in ROWS, metric, by how much)."""


def ablation_markdown(found: Found) -> str:
    """Return the table, mean ± standard deviation over the seeds, and the claims, each seed paired with itself.

    Of the row of true targets nothing is found where no world is made; it is left out then.
    """
    lines = [f"| Losses | Prompts and pairs | {' | '.join(SHOWN.values())} |", "|---|---|" + "---:|" * len(SHOWN)]
    for row in ROWS:
        if row.configuration == TRUE_TARGETS and not any(name == TRUE_TARGETS for name, _ in found):
            continue
        cells = [_spread(_values(found, row, metric)) for metric in SHOWN]
        lines.append(f"| {row.losses} | {row.prompts} | {' | '.join(cells)} |")
    seeds = len(_seeds(found))
    lines += ["", f"Mean ± standard deviation of {seeds} trainings with seeds of their own. {SAMPLED}", ""]
    lines += ["| Claim | Difference | Of how many seeds | Holds |", "|---|---:|---:|---|"]
    for words, better, worse, metric, least in CLAIMS:
        pairs = zip(_values(found, ROWS[better], metric), _values(found, ROWS[worse], metric), strict=True)
        differences = [one - other for one, other in pairs]
        agreeing = sum(difference > 0 for difference in differences)
        holds = statistics.mean(differences) >= least and agreeing == seeds
        lines.append(f"| {words} | {_spread(differences)} | {agreeing} of {seeds} | {'yes' if holds else 'no'} |")
    return "\n".join([*lines, ""])


def ablation_csv(found: Found) -> str:
    """Return every metric of every model as CSV, one number a line."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["configuration", "seed", "system", "metric", "value"])
    for (configuration, seed), systems in found.items():
        for system, scores in systems.items():
            for metric, value in scores.items():
                writer.writerow([configuration, seed, system, metric, f"{value:.6g}"])
    return lines.getvalue()


def _values(found: Found, row: Row, metric: str) -> list[float]:
    return [found[row.configuration, seed][row.system][metric] for seed in _seeds(found)]


def _seeds(found: Found) -> list[int]:
    return sorted({seed for _, seed in found})


def _spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"
