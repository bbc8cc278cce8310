"""Systems with other settings than those in params.yaml: edited, kept and scored like those of Table 1."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from stages.comparison.cases import Masks, read_cases
from stages.comparison.edits import MASKS, edit_cases
from stages.comparison.scoring import score_edits
from stages.comparison.systems import Models, System, load_models
from stages.comparison.training_free import TRAINING_FREE, training_free_system
from stages.core.files import remove
from stages.core.params import CaseSplit, Params
from stages.core.paths import IEDIT
from stages.editing.settings import adjust_sampling
from stages.metrics.intervals import mean
from stages.metrics.scores import SystemScores
from stages.metrics.table import count_key
from stages.models.clip import load_clip
from stages.models.hub import identity
from stages.models.inception import Inception
from stages.models.vgg import load_vgg

Settings = Mapping[str, float]
"""``strength``, ``guidance_scale``, ``image_guidance_scale``, ``cross_share``, ``self_share``: those that the system has."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A system of Table 1 with its own settings, and its scores."""

    system: str
    settings: Settings
    masks: Masks  # of the cases
    scores: SystemScores

    def means_and_counts(self) -> dict[str, float]:
        """Return every metric over the cases that define it, and how many these are under its :func:`count_key`."""
        cases, sets = self.scores.per_case, self.scores.of_set
        means = {name: mean(values) for name, values in cases.items()}
        means |= {name: interval.value for name, interval in sets.items()}
        counts = {count_key(name): float(np.isfinite(values).sum()) for name, values in cases.items()}
        counts |= {count_key(name): float(interval.n) for name, interval in sets.items()}
        return means | counts


RunTrial: TypeAlias = Callable[[str, Settings], Trial]
"""(system of SYSTEMS or TRAINING_FREE, settings) → its trial."""


def load_trials(
    params: Params, split: CaseSplit, folder: Path, model: Path = IEDIT, inception: Inception | None = None
) -> RunTrial:
    """Load the models and the cases, and return the function that runs a trial.

    Edits that ``folder`` holds already are reused. A setting that is out of range raises InputError.

    Args:
        params: the models, the cases, and every setting that is not tried.
        split: the cases to report on, or those to choose settings on.
        folder: keeps the edits.
        model: the folder of the model behind ``iedit`` and ``iedit_m``.
        inception: computes the features of FID; None leaves FID out.

    Raises:
        InputError: a model or a case is missing or damaged.
    """
    config = params.evaluate
    judge, vgg, models = load_clip(config.judge), load_vgg(config.vgg), load_models(params, model)
    asked, segmenter = read_cases(params, split), identity(config.segmenter)

    def run_trial(system: str, settings: Settings) -> Trial:
        place = _place(folder, system, settings)
        systems = {place.name: _system(models, system, settings, params)}
        edits = edit_cases(asked.cases, systems, models.tuned, segmenter, params, place.parent, keep_others=True)
        scores = score_edits(asked.samples, edits.made, judge, vgg, config.batch, inception)
        return Trial(system=system, settings=settings, masks=asked.masks, scores=scores[place.name])

    return run_trial


def run_trials(
    params: Params,
    split: CaseSplit,
    wanted: Mapping[str, Sequence[Settings]],
    folder: Path,
    model: Path = IEDIT,
    inception: Inception | None = None,
) -> Iterator[Trial]:
    """Yield every wanted trial, system after system, and remove the edits of all others at the end.

    Args:
        params: the models, the cases, and every setting that is not tried.
        split: the cases to report on, or those to choose settings on.
        wanted: system of SYSTEMS or TRAINING_FREE → the settings to try.
        folder: keeps the edits.
        model: the folder of the model behind ``iedit`` and ``iedit_m``.
        inception: computes the features of FID; None leaves FID out.

    Raises:
        InputError: a model or a case is missing or damaged, or a setting is out of range.
    """
    run_trial = load_trials(params, split, folder, model, inception)
    made = []
    for system, each in wanted.items():
        for settings in each:
            made.append(run_trial(system, settings))
            yield made[-1]
    remove_other_edits(folder, made)


def remove_other_edits(folder: Path, trials: Sequence[Trial]) -> None:
    """Remove from ``folder`` the edits of all trials but ``trials``, once a study is complete."""
    kept = {_place(folder, trial.system, trial.settings) for trial in trials}
    kept |= {place.parent for place in kept} | {place.with_name(MASKS) for place in kept}
    for path in (*folder.glob("*/*"), *folder.glob("*")):
        if path not in kept:
            remove(path)


def _place(folder: Path, system: str, settings: Settings) -> Path:
    """Return the folder of a trial's edits."""
    return folder / system / " ".join([system, *(f"{value:g}" for value in settings.values())])


def _system(models: Models, name: str, settings: Settings, params: Params) -> System:
    if name in TRAINING_FREE:
        return training_free_system(models, name, params.sampling, settings)
    sampling = adjust_sampling(
        params.sampling, strength=settings.get("strength"), guidance_scale=settings.get("guidance_scale")
    )
    return models.system(name, sampling, settings.get("image_guidance_scale"))
