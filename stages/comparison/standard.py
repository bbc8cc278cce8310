"""The standard by which versions of the editor are compared: the current cases, judge and code."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from stages.comparison import edits
from stages.comparison.cases import Case, CaseSet, read_cases
from stages.comparison.edited import Edited
from stages.comparison.edits import edit_cases
from stages.comparison.scoring import score_edits
from stages.comparison.systems import edited_by
from stages.core.files import value_digest
from stages.core.params import Params
from stages.core.paths import EDITED_REGISTERED
from stages.core.provenance import source_digest
from stages.metrics import scores
from stages.metrics.scores import SystemScores
from stages.models.clip import load_clip
from stages.models.hub import identity
from stages.models.vgg import load_vgg
from stages.tracking.evaluations import Scores
from stages.tracking.gate import FAILED
from stages.tracking.promotion import Standard
from stages.tracking.registry import NAME, Registered, load_editor

SERVED = "edits"
"""The name of a version's edits among those of a folder."""


def current_standard(params: Params, cases: CaseSet | None = None) -> Standard:
    """Return the standard that params.yaml and the code define; each version samples its edits as it is served.

    Args:
        params: all of params.yaml.
        cases: the current cases, where they have been read already.
    """
    config = params.evaluate
    cases = cases or read_cases(params)
    keys = [sample.key for sample in cases.samples]
    decisive = {
        "digest": cases.digest,
        "cases": keys,
        "judge": identity(config.judge),
        "seed": params.seed,
        "code": [source_digest(edits.__file__), source_digest(scores.__file__)],
    }
    return Standard(
        evaluation_set=value_digest(decisive),
        cases=keys,
        score=partial(_score_version, params, cases.cases),
        gate=config.gate,
        resamples=config.bootstrap,
        seed=params.seed,
    )


def edit_as_served(params: Params, cases: Sequence[Case], version: Registered, folder: Path) -> Edited:
    """Return a registered version's edits within predicted masks, made like those of iedit_m.

    Args:
        params: the seed and the size of a batch; the version has its own settings.
        cases: n, at least one.
        version: the version.
        folder: keeps the edits, in a folder :data:`SERVED` of its own.
    """
    editor, sampling = load_editor(f"models:/{NAME}/{version.version}")
    system = edited_by(editor, version.digest, sampling, masks="predicted")
    as_served = params.model_copy(update={"sampling": sampling})
    return edit_cases(cases, {SERVED: system}, editor, version.digest, as_served, folder).made[SERVED]


def scores_to_compare(scores: SystemScores) -> Scores:
    """Return what two versions are compared by: the scores of every case, and whether its edit failed."""
    return {**scores.per_case, FAILED: scores.failed.astype(np.float64)}


def _score_version(params: Params, cases: Sequence[Case], version: Registered) -> Scores:
    edits = {SERVED: edit_as_served(params, cases, version, EDITED_REGISTERED)}
    judge, vgg = load_clip(params.evaluate.judge), load_vgg(params.evaluate.vgg)
    scores = score_edits([case.sample for case in cases], edits, judge, vgg, params.evaluate.batch)
    return scores_to_compare(scores[SERVED])
