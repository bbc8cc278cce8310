"""How each system should sample: equally many settings of each, tried on the validation cases.

Run as ``python -m stages.studies.tune``; what it finds is put into ``conf/preset`` by hand, of which params.yaml is composed.
Interrupted, it goes on where it was.
"""

import csv
import io
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np

from stages.comparison.trials import Settings, Trial, run_trials
from stages.core.files import write_text
from stages.core.params import Params
from stages.core.run import run, set_threads
from stages.report.captions import NAMES

TRIED = Path("data/tuned")  # the edits of every trial
REPORTS = Path("reports")
STRENGTHS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
# The base model follows a prompt by guidance alone; one that has learned to follow it needs less.
GUIDANCE, LESS_GUIDANCE = (3.0, 4.5), (2.0, 3.0)
IMAGE_GUIDANCE, TEXT_GUIDANCE = (1.0, 1.25, 1.5, 2.0), (2.0, 4.0, 7.0)


def _noised(guidance: Sequence[float]) -> list[Settings]:
    return [{"strength": one, "guidance_scale": two} for one, two in product(STRENGTHS, guidance)]


# Twelve of each. Inpainting is defined by its strength and has one setting, which is therefore tried more finely.
GRIDS: dict[str, list[Settings]] = {
    "sdedit": _noised(GUIDANCE),
    "inpainting": [
        {"strength": 1.0, "guidance_scale": each} for each in (1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.5, 10.0)
    ],
    "instruct_pix2pix": [
        {"image_guidance_scale": one, "guidance_scale": two} for one, two in product(IMAGE_GUIDANCE, TEXT_GUIDANCE)
    ],
    "iedit": _noised(LESS_GUIDANCE),
    "iedit_m": _noised(LESS_GUIDANCE),
}
KEYS = {name: f"evaluate.systems.{name}" for name in NAMES} | {"iedit_m": "sampling"}
SCORED = ("clip_score", "clip_directional", "edit_success", "ssim_m_frame", "ssim_m_bar_frame", "perceptual_outside")
CRITERION = (
    "The criterion is the harmonic mean of edit success and SSIM-M̄ (frame), both in percent: an edit must do what was asked"
    " and leave the rest alone, and neither makes up for a lack of the other. It is one number for every system."
)


def tune(params: Params) -> None:
    """Write every trial to ``reports/tuning.csv`` and the best of each system to ``reports/tuning.md``, and print these.

    The best has the highest harmonic mean of edit success and SSIM-M̄; of equals, the first.
    """
    set_threads(params.threads)
    trials = list(run_trials(params, "validation", GRIDS, TRIED))
    write_text(REPORTS / "tuning.csv", trials_table(trials))
    told = best_table(trials)
    write_text(REPORTS / "tuning.md", told)
    print(told)


def criterion(trial: Trial) -> float:
    """Return the harmonic mean of edit success and SSIM-M̄ (frame), both in percent; 0 where both are."""
    success, kept = _mean(trial, "edit_success"), max(_mean(trial, "ssim_m_bar_frame"), 0.0)
    return 2 * success * kept / (success + kept) if success + kept else 0.0


def best_of(trials: Sequence[Trial]) -> dict[str, Trial]:
    """Return the best trial of each system."""
    best: dict[str, Trial] = {}
    for trial in trials:
        if trial.system not in best or criterion(trial) > criterion(best[trial.system]):
            best[trial.system] = trial
    return best


def trials_table(trials: Sequence[Trial]) -> str:
    """Return every trial as CSV: its settings, the criterion, mean scores, and whether it is the best of its system."""
    settings = ("strength", "guidance_scale", "image_guidance_scale")
    best = best_of(trials)
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["system", *settings, "cases", "criterion", *SCORED, "best"])
    for trial in trials:
        values = [trial.settings.get(name, "") for name in settings]
        means = [f"{value:.6g}" for value in (criterion(trial), *(_mean(trial, name) for name in SCORED))]
        writer.writerow([trial.system, *values, len(trial.scores), *means, int(best[trial.system] is trial)])
    return lines.getvalue()


def best_table(trials: Sequence[Trial]) -> str:
    """Return the best trial of each system as Markdown, with the parameters to set."""
    lines = [
        "| System | Trials | Parameters | Criterion | Edit success (%) | SSIM-M̄ (frame, %) |",
        "|---|---:|---|---:|---:|---:|",
    ]
    for system, trial in best_of(trials).items():
        count = sum(each.system == system for each in trials)
        # The strength of inpainting is what makes it inpainting: no parameter.
        own = {name: value for name, value in trial.settings.items() if (system, name) != ("inpainting", "strength")}
        found = ", ".join(f"`{KEYS[system]}.{name}={value:g}`" for name, value in own.items())
        scores = (criterion(trial), _mean(trial, "edit_success"), _mean(trial, "ssim_m_bar_frame"))
        lines.append(f"| {NAMES[system]} | {count} | {found} | " + " | ".join(f"{score:.1f}" for score in scores) + " |")
    return "\n".join([*lines, "", f"n = {len(trials[0].scores)} validation cases. {CRITERION}", ""])


def _mean(trial: Trial, metric: str) -> float:
    return float(np.nanmean(trial.scores.per_case[metric]))


if __name__ == "__main__":
    run(tune)
