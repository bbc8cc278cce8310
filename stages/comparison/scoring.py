"""The scores of every system's edits of the same cases."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from stages.corpus.samples import EditSample
from stages.metrics.evidence import Cases
from stages.metrics.scores import SystemScores, score_system
from stages.models.clip import Clip
from stages.models.inception import Inception
from stages.models.tensors import mask_to_tensor, to_tensor
from stages.models.vgg import Vgg


def score_edits(
    cases: Sequence[EditSample],
    edits: Mapping[str, Tensor],
    judge: Clip,
    vgg: Vgg,
    batch: int,
    inception: Inception | None = None,
) -> dict[str, SystemScores]:
    """Score every system on the same cases. The candidates of a case are the terms of all cases with its relation.

    Args:
        cases: n; ``metadata["relation"]`` names the kind of edit.
        edits: system → its pictures, (n, 3, h, w) in [0, 1].
        judge: a CLIP that nothing was trained against.
        vgg: computes the features of the perceptual distance.
        batch: pictures, or texts, per forward pass.
        inception: computes the features of FID; None leaves FID out.

    Raises:
        InputError: pictures do not fit the cases, or leave [0, 1].
    """
    terms: dict[str, set[str]] = {}
    for case in cases:
        terms.setdefault(case.metadata["relation"], set()).update((case.source_diff, case.target_diff))
    asked = Cases(
        sources=to_tensor([case.source for case in cases]),
        masks=mask_to_tensor([case.source_mask for case in cases]),
        captions=[case.source_caption for case in cases],
        prompts=[case.edit_prompt for case in cases],
        target_terms=[case.target_diff for case in cases],
        candidates=[sorted(terms[case.metadata["relation"]]) for case in cases],
    )
    return {
        system: score_system(asked, edited.to(asked.sources), judge, vgg, batch=batch, inception=inception)
        for system, edited in edits.items()
    }
