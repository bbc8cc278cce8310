"""Systems with other settings than those in params.yaml: edited, kept and scored like those of Table 1."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.comparison.cases import read_cases
from stages.comparison.edits import edit_cases
from stages.comparison.scoring import score_edits
from stages.comparison.systems import Models, System, load_models
from stages.comparison.training_free import TRAINING_FREE, training_free_system
from stages.core.params import CaseSplit, Params
from stages.core.paths import IEDIT
from stages.editing.settings import adjust_sampling
from stages.metrics.scores import SystemScores
from stages.models.clip import load_clip
from stages.models.hub import identity
from stages.models.inception import load_inception
from stages.models.vgg import load_vgg

Settings = Mapping[str, float]
"""``strength``, ``guidance_scale``, ``image_guidance_scale``, ``cross_share``, ``self_share``: those that the system has."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A system of Table 1 with its own settings, and its scores."""

    system: str
    settings: Settings
    scores: SystemScores


def run_trials(
    params: Params, split: CaseSplit, wanted: Mapping[str, Sequence[Settings]], folder: Path, model: Path = IEDIT
) -> Iterator[Trial]:
    """Yield every trial, system after system; edits that ``folder`` holds already are reused.

    Args:
        params: the models, the cases, and every setting that is not tried.
        split: the cases to report on, or those to choose settings on.
        wanted: system of SYSTEMS or TRAINING_FREE → the settings to try.
        folder: keeps the edits.
        model: the folder of the model behind ``iedit`` and ``iedit_m``.

    Raises:
        InputError: a model or a case is missing or damaged, or a setting is out of range.
    """
    config = params.evaluate
    judge, vgg, models = load_clip(config.judge), load_vgg(config.vgg), load_models(params, model)
    inception = load_inception(config.inception) if config.inception else None
    asked = read_cases(params, split)
    for system, each in wanted.items():
        systems = {}
        for settings in each:
            name = " ".join([system, *(f"{value:g}" for value in settings.values())])
            systems[name] = _system(models, system, settings, params)
        made = edit_cases(asked, systems, models.tuned, identity(config.segmenter), params, folder / system)
        for name, settings in zip(systems, each, strict=True):
            edits = {name: made.pictures[name]}
            scores = score_edits([case.sample for case in asked], edits, judge, vgg, config.batch, inception)
            yield Trial(system=system, settings=settings, scores=scores[name])


def _system(models: Models, name: str, settings: Settings, params: Params) -> System:
    if name in TRAINING_FREE:
        return training_free_system(models, name, params.sampling, settings)
    sampling = adjust_sampling(
        params.sampling, strength=settings.get("strength"), guidance_scale=settings.get("guidance_scale")
    )
    return models.system(name, sampling, settings.get("image_guidance_scale"))
