"""Choose how each system samples, by equally many trials on the validation cases. ``python -m stages.studies.tune``.

Systems that share a parameter try the same values of it, those of its ladder. The first trial of a system has the middle of
its ladders, each further one is the nearest to its best so far, until the best lies inside what was tried. If that takes one
system more than TRIALS, all others get as many; a system with fewer settings than that tries them all.

What it finds is copied by hand into ``conf/preset``, from which params.yaml is composed. It resumes after an interruption.
"""

from collections.abc import Sequence

import numpy as np

from stages.comparison.trials import Settings, Trial, load_trials, remove_other_edits
from stages.core.files import write_text
from stages.core.params import Params
from stages.core.paths import EDITED_TRIALS, REPORTS
from stages.core.run import run, set_threads
from stages.metrics.intervals import mean
from stages.report.captions import DEFINITIONS, NAMES, TRAINING_FREE, names_for
from stages.report.formats import csv_text
from stages.report.results import LABELS
from stages.studies.search import Ladder, Ladders, search_all

TRIALS = 20
"""How many trials a system has at least: with two parameters the 9 settings around a best, and all up to two steps away."""
LADDERS = {
    "strength": Ladder(
        values=(0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0), high="the whole schedule is run, so there is no more"
    ),
    "guidance_scale": Ladder(values=(1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.5, 10.0, 13.0)),
    "image_guidance_scale": Ladder(
        values=(1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0), low="the source guides nothing, so there is no less"
    ),
    "cross_share": Ladder(
        values=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
        low="no step has the source's cross-attention, so there is no less",
        high="every step has the source's cross-attention, so there is no more",
    ),
    "self_share": Ladder(
        values=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
        low="no step has the source's self-attention, so there is no less",
        high="every step has the source's self-attention, so there is no more",
    ),
}
"""Parameter → its values. At 1 there is no guidance by the prompt, and InstructPix2Pix's pipeline ignores both scales."""


def _ladders(*names: str) -> Ladders:
    return {name: LADDERS[name] for name in names}


SYSTEMS: dict[str, Ladders] = {
    "sdedit": _ladders("strength", "guidance_scale"),
    "inpainting": {"strength": Ladder(values=(1.0,)), **_ladders("guidance_scale")},  # from noise alone, by definition
    "instruct_pix2pix": _ladders("image_guidance_scale", "guidance_scale"),
    "iedit": _ladders("strength", "guidance_scale"),
    "iedit_m": _ladders("strength", "guidance_scale"),
    "diffedit": _ladders("strength", "guidance_scale"),
    "prompt_to_prompt": _ladders("guidance_scale", "cross_share", "self_share"),
}
"""System → what is tried of it."""
KEYS = {name: f"evaluate.systems.{name}" for name in NAMES} | {"iedit_m": "sampling"}
KEYS |= {name: f"benchmark.{name}" for name in TRAINING_FREE}
"""System → the section of params.yaml that holds its settings."""
SCORED = ("clip_score", "clip_directional", "edit_success", "ssim_m_frame", "ssim_m_bar_frame", "perceptual_outside")
BALANCED = ("edit_success", "ssim_m_bar_frame")
"""The metrics of the criterion."""
CRITERION = (
    "The criterion is the harmonic mean of edit success and SSIM-M̄ (frame), both in percent: an edit must do what was asked"
    " and keep the rest, and neither makes up for the other. It is the same for every system. A case that leaves one of the"
    " two undefined counts as 0 in it, so that no setting gains from edits that cannot be scored."
)
RULE = (
    f"Systems that share a parameter try the same values of it. Every system has as many trials, at least {TRIALS}, as the"
    " one that needed most until its best had been tried with the next value on each side of every parameter; a system with"
    " fewer settings than that tries them all."
)


def tune(params: Params) -> None:
    """Write every trial to tuning.csv and the best of each system to tuning.md in ``reports/latest``; print the best.

    The best trial has the highest criterion; of equal ones, the first wins. The edits of other trials, kept by earlier runs,
    are removed at the end.
    """
    set_threads(params.threads)
    run_trial = load_trials(params, "validation", EDITED_TRIALS)
    trials: list[Trial] = []

    def measure(system: str, settings: Settings) -> float:
        trials.append(run_trial(system, settings))
        return criterion(trials[-1])

    search_all(SYSTEMS, measure, TRIALS)
    trials.sort(key=lambda trial: list(SYSTEMS).index(trial.system))
    best = best_table(trials)
    write_text(REPORTS / "tuning.csv", trials_table(trials))
    write_text(REPORTS / "tuning.md", best)
    print(best)
    remove_other_edits(EDITED_TRIALS, trials)


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
    """Return every trial as CSV: settings, criterion, mean scores, undefined cases, and 1 for the best of its system.

    ``undefined`` counts the cases without one of BALANCED. ``ladder_end`` is empty, or names the values of a best trial that
    lie at the end of a ladder, and what that means.
    """
    best = best_of(trials)
    rows = []
    for trial in trials:
        settings = [trial.settings.get(name, "") for name in LADDERS]
        means = [f"{value:.6g}" for value in (criterion(trial), *(_mean(trial, name) for name in SCORED))]
        undefined = np.isnan([trial.scores.per_case[name] for name in BALANCED]).any(axis=0).sum()
        is_best = best[trial.system] is trial
        end = _ends(trial) if is_best else ""
        rows.append([trial.system, *settings, len(trial.scores), *means, undefined, int(is_best), end])
    return csv_text(["system", *LADDERS, "cases", "criterion", *SCORED, "undefined", "best", "ladder_end"], rows)


def best_table(trials: Sequence[Trial]) -> str:
    """Return the best trial of each system as a Markdown table with the parameters to set."""
    columns = ["System", "Trials", "Parameters", "Criterion", *(LABELS[name] for name in BALANCED), "At the end of a ladder"]
    lines = [f"| {' | '.join(columns)} |", "|---|---:|---|---:|---:|---:|---|"]
    names = {**names_for(trials[0].masks), **TRAINING_FREE}
    for system, trial in best_of(trials).items():
        count = sum(each.system == system for each in trials)
        scores = [f"{score:.1f}" for score in (criterion(trial), *(_mean(trial, name) for name in BALANCED))]
        lines.append(f"| {names[system]} | {count} | {_parameters(trial)} | {' | '.join(scores)} | {_ends(trial)} |")
    caption = f"n = {len(trials[0].scores)} validation cases. {RULE} {CRITERION} {DEFINITIONS}"
    return "\n".join([*lines, "", caption, ""])


def _parameters(trial: Trial) -> str:
    """Return the settings as keys of params.yaml; inpainting's strength is not one."""
    own = {name: value for name, value in trial.settings.items() if (trial.system, name) != ("inpainting", "strength")}
    return ", ".join(f"`{KEYS[trial.system]}.{name}={value:g}`" for name, value in own.items())


def _ends(trial: Trial) -> str:
    """Return which values lie at the end of a ladder, and what that means."""
    ends = {name: SYSTEMS[trial.system][name].end(value) for name, value in trial.settings.items()}
    return "; ".join(f"{name} = {trial.settings[name]:g}: {end}" for name, end in ends.items() if end)


def _mean(trial: Trial, metric: str) -> float:
    """Return the mean over all cases for a metric of the criterion, undefined ones as 0; else over those that define it."""
    values = trial.scores.per_case[metric]
    return mean(np.nan_to_num(values) if metric in BALANCED else values)


if __name__ == "__main__":
    run(tune)
