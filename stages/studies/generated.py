"""Table 1 (a): the systems of Table 1 on sources that the base model drew. ``python -m stages.studies.generated``.

The edits are those of Table 1 (b); only their words are used. A drawn source has no true mask: its mask comes from
``evaluate.referee``, a CLIPSeg that predicts masks for no system. The study resumes after an interruption.
"""

from dataclasses import replace

from stages.comparison.edits import edit_cases
from stages.comparison.scoring import score_edits
from stages.comparison.summary import identify, summarise_masks
from stages.comparison.systems import SYSTEMS, Models, chosen_systems, load_models
from stages.core.params import Params
from stages.core.paths import EDITED_GENERATED, REPORTS
from stages.core.run import run, set_threads
from stages.metrics.summary import summarise
from stages.models.clip import load_clip
from stages.models.hub import identity
from stages.models.inception import load_inception
from stages.models.vgg import load_vgg
from stages.report.captions import refereed
from stages.report.evaluation import Comparison, write_comparison
from stages.studies.generated_cases import write_cases


def generated(params: Params) -> None:
    """Write ``reports/latest/generated``: the tables, the claims and the contact sheet of Table 1 on drawn sources.

    Raises:
        InputError: the referee is refused, or finds what an edit is about in none of the drawn pictures.
    """
    set_threads(params.threads)
    config = params.evaluate
    models = load_models(params)
    models.bring(models.base.diffusion)
    cases = write_cases(params, models.base)
    samples = cases.samples
    segmenter = identity(config.segmenter)
    edits = edit_cases(cases.cases, chosen_systems(models, params), models.tuned, segmenter, params, EDITED_GENERATED)
    inception = load_inception(config.inception) if config.inception else None
    scores = score_edits(samples, edits.made, load_clip(config.judge), load_vgg(config.vgg), config.batch, inception)
    metrics = summarise(
        {system: scores[system] for system in SYSTEMS},
        resamples=config.bootstrap,
        seed=params.seed,
        models=_compared_models(params, models),
    ) | summarise_masks(cases)
    comparison = Comparison(cases=samples, pictures=edits.pictures, scores=scores, metrics=metrics)
    write_comparison(REPORTS / "generated", comparison, params, refereed(metrics, "The base model drew the sources."))
    replace(edits.counts, stage="generated").report()


def _compared_models(params: Params, models: Models) -> dict[str, dict[str, str]]:
    """Return the name, if it has one, and the identity of every model that the scores depend on."""
    config = params.evaluate
    named = {"judge": config.judge, "vgg": config.vgg, "inception": config.inception}
    named |= {"segmenter": config.segmenter, "referee": config.referee}
    return identify(named) | {name: {"identity": digest} for name, digest in models.identities.items()}


if __name__ == "__main__":
    run(generated)
