"""The summary of a comparison: the value of metrics.json."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from stages.comparison.cases import CaseSet
from stages.comparison.edits import Edits
from stages.comparison.systems import SYSTEMS, Models
from stages.core.params import ModelName, Params
from stages.core.paths import IEDIT, INSTRUCT_PIX2PIX
from stages.corpus.samples import EditSample
from stages.metrics.scores import SystemScores
from stages.metrics.summary import summarise
from stages.models.hub import identity
from stages.models.tensors import mask_to_tensor


def summarise_comparison(
    params: Params,
    models: Models,
    cases: CaseSet,
    edits: Edits,
    scores: Mapping[str, SystemScores],
) -> dict[str, Any]:
    """Return the value of metrics.json: the scores of SYSTEMS, the models behind them, and how good the masks are.

    Args:
        params: the models by name, the bootstrap, and the seed.
        models: the loaded models.
        cases: n, with the masks of either kind.
        edits: the systems' edits of these cases.
        scores: system → its scores; systems outside SYSTEMS are left out.
    """
    shown = {system: scores[system] for system in SYSTEMS}
    named = _compared_models(params, models, cases)
    metrics = summarise(shown, resamples=params.evaluate.bootstrap, seed=params.seed, models=named)
    metrics["cases_digest"] = cases.digest
    metrics["predicted_masks"] = mask_quality(cases.samples, edits.masks, cases.masks)
    return metrics | summarise_masks(cases)


def summarise_masks(cases: CaseSet) -> dict[str, Any]:
    """Return what metrics.json says of the masks: ``masks``, whose they are, and ``left_out``, how many cases have none.

    Of true masks it says nothing.
    """
    return {"masks": cases.masks, "left_out": cases.left_out} if cases.masks == "referee" else {}


def mask_quality(cases: Sequence[EditSample], masks: Tensor, kind: str) -> dict[str, float]:
    """Return how well predicted masks fit those of the cases.

    Args:
        cases: n, with their masks.
        masks: the predicted masks, (n, 1, h, w), 0 or 1.
        kind: whose masks the cases have, in a word.

    Returns:
        ``miou``, the mean intersection over union; ``not_found``, how many predicted masks are empty; ``area`` and
        ``KIND_area``, the mean shares of the picture, in [0, 1].
    """
    given = mask_to_tensor([case.source_mask for case in cases]).cpu() > 0.5
    found = masks > 0.5
    overlap = (given & found).flatten(1).sum(dim=1) / (given | found).flatten(1).sum(dim=1)
    return {
        "miou": overlap.mean().item(),
        "not_found": int((~found.flatten(1).any(dim=1)).sum()),
        "area": found.float().mean().item(),
        f"{kind}_area": given.float().mean().item(),
    }


def identify(models: Mapping[str, ModelName | None]) -> dict[str, dict[str, str]]:
    """Return each model's name and the identity of its weights, as metrics.json holds them, under the same keys.

    A model that params.yaml does not name, None, is left out.
    """
    return {key: {"name": model.name, "identity": identity(model)} for key, model in models.items() if model is not None}


def _compared_models(params: Params, models: Models, cases: CaseSet) -> dict[str, dict[str, str]]:
    """Return the name and the identity of every model that the scores depend on."""
    config, identities = params.evaluate, models.identities
    released = config.systems.instruct_pix2pix.model
    instructed = released.name if released else str(INSTRUCT_PIX2PIX)
    named = {"judge": config.judge, "vgg": config.vgg, "inception": config.inception, "segmenter": config.segmenter}
    named |= {"referee": config.referee} if cases.masks == "referee" else {}
    return identify(named) | {
        "base": {"name": config.base.name, "identity": identities["base"]},
        "instruct_pix2pix": {"name": instructed, "identity": identities["instructed"]},
        "iedit": {"name": str(IEDIT), "identity": identities["tuned"]},
    }
