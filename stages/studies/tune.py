"""Choose how each system samples: equally many settings each, tried on the validation cases. ``python -m stages.studies.tune``.

What it finds is copied by hand into ``conf/preset``, from which params.yaml is composed. It resumes after an interruption.
"""

from collections.abc import Sequence
from itertools import product

from stages.comparison.trials import Settings, Trial, run_trials
from stages.core.files import write_text
from stages.core.params import Params
from stages.core.paths import EDITED_TRIALS, REPORTS
from stages.core.run import run, set_threads
from stages.metrics.intervals import mean
from stages.report.captions import DEFINITIONS, NAMES, TRAINING_FREE, names_for
from stages.report.formats import csv_text
from stages.report.results import LABELS

STRENGTHS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
# The base model follows a prompt through guidance alone; a model that was trained to follow it needs less.
GUIDANCE, LESS_GUIDANCE = (3.0, 4.5), (2.0, 3.0)
IMAGE_GUIDANCE, TEXT_GUIDANCE = (1.0, 1.25, 1.5, 2.0), (2.0, 4.0, 7.0)
CROSS_SHARES, SELF_SHARES = (0.4, 0.8), (0.2, 0.4, 0.6)
INPAINTING_GUIDANCE = (1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.5, 10.0)


def _strengths_and(guidance: Sequence[float]) -> list[Settings]:
    return [{"strength": strength, "guidance_scale": scale} for strength, scale in product(STRENGTHS, guidance)]


GRIDS: dict[str, list[Settings]] = {
    "sdedit": _strengths_and(GUIDANCE),
    "inpainting": [{"strength": 1.0, "guidance_scale": scale} for scale in INPAINTING_GUIDANCE],
    "instruct_pix2pix": [
        {"image_guidance_scale": image, "guidance_scale": text} for image, text in product(IMAGE_GUIDANCE, TEXT_GUIDANCE)
    ],
    "iedit": _strengths_and(LESS_GUIDANCE),
    "iedit_m": _strengths_and(LESS_GUIDANCE),
    "diffedit": _strengths_and(GUIDANCE),
    "prompt_to_prompt": [
        {"guidance_scale": scale, "cross_share": cross, "self_share": own}
        for scale, cross, own in product(GUIDANCE, CROSS_SHARES, SELF_SHARES)
    ],
}
"""System → twelve settings. Inpainting's strength is fixed by definition, so its one setting has a finer grid."""
KEYS = {name: f"evaluate.systems.{name}" for name in NAMES} | {"iedit_m": "sampling"}
KEYS |= {name: f"benchmark.{name}" for name in TRAINING_FREE}
"""System → the section of params.yaml that holds its settings."""
SETTINGS = ("strength", "guidance_scale", "image_guidance_scale", "cross_share", "self_share")
SCORED = ("clip_score", "clip_directional", "edit_success", "ssim_m_frame", "ssim_m_bar_frame", "perceptual_outside")
BALANCED = ("edit_success", "ssim_m_bar_frame")
"""The metrics of the criterion."""
CRITERION = (
    "The criterion is the harmonic mean of edit success and SSIM-M̄ (frame), both in percent: an edit must do what was asked"
    " and keep the rest, and neither makes up for the other. It is the same for every system."
)


def tune(params: Params) -> None:
    """Write every trial to tuning.csv and the best of each system to tuning.md in ``reports/latest``; print the best.

    The best trial has the highest criterion; of equal ones, the first wins.
    """
    set_threads(params.threads)
    trials = list(run_trials(params, "validation", GRIDS, EDITED_TRIALS))
    best = best_table(trials)
    write_text(REPORTS / "tuning.csv", trials_table(trials))
    write_text(REPORTS / "tuning.md", best)
    print(best)


def criterion(trial: Trial) -> float:
    """Return the harmonic mean of edit success and SSIM-M̄ (frame), in [0, 100]; 0 where one of them is, or is undefined."""
    success, kept = (_mean(trial, name) for name in BALANCED)
    return 2 * success * kept / (success + kept) if success > 0 and kept > 0 else 0.0


def best_of(trials: Sequence[Trial]) -> dict[str, Trial]:
    """Return the best trial of each system."""
    best: dict[str, Trial] = {}
    for trial in trials:
        if trial.system not in best or criterion(trial) > criterion(best[trial.system]):
            best[trial.system] = trial
    return best


def trials_table(trials: Sequence[Trial]) -> str:
    """Return every trial as CSV: settings, criterion, mean scores, and 1 for the best of its system."""
    best = best_of(trials)
    rows = []
    for trial in trials:
        settings = [trial.settings.get(name, "") for name in SETTINGS]
        means = [f"{value:.6g}" for value in (criterion(trial), *(_mean(trial, name) for name in SCORED))]
        rows.append([trial.system, *settings, len(trial.scores), *means, int(best[trial.system] is trial)])
    return csv_text(["system", *SETTINGS, "cases", "criterion", *SCORED, "best"], rows)


def best_table(trials: Sequence[Trial]) -> str:
    """Return the best trial of each system as a Markdown table with the parameters to set."""
    columns = ["System", "Trials", "Parameters", "Criterion", *(LABELS[name] for name in BALANCED)]
    lines = [f"| {' | '.join(columns)} |", "|---|---:|---|---:|---:|---:|"]
    names = {**names_for(trials[0].masks), **TRAINING_FREE}
    for system, trial in best_of(trials).items():
        count = sum(each.system == system for each in trials)
        scores = [f"{score:.1f}" for score in (criterion(trial), *(_mean(trial, name) for name in BALANCED))]
        lines.append(f"| {names[system]} | {count} | {_parameters(trial)} | {' | '.join(scores)} |")
    return "\n".join([*lines, "", f"n = {len(trials[0].scores)} validation cases. {CRITERION} {DEFINITIONS}", ""])


def _parameters(trial: Trial) -> str:
    """Return the settings as keys of params.yaml; inpainting's strength is not one."""
    own = {name: value for name, value in trial.settings.items() if (trial.system, name) != ("inpainting", "strength")}
    return ", ".join(f"`{KEYS[trial.system]}.{name}={value:g}`" for name, value in own.items())


def _mean(trial: Trial, metric: str) -> float:
    """Return the mean over the cases that define the metric; NaN if none does."""
    return mean(trial.scores.per_case[metric])


if __name__ == "__main__":
    run(tune)
