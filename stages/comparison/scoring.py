"""The scores of every system's edits of the same cases."""

from collections.abc import Mapping, Sequence

from stages.comparison.candidates import candidates_of
from stages.comparison.edited import Edited
from stages.corpus.samples import EditSample
from stages.metrics.evidence import Cases
from stages.metrics.scores import SystemScores, score_system
from stages.models.clip import Clip
from stages.models.inception import Inception
from stages.models.tensors import mask_to_tensor, to_tensor
from stages.models.vgg import Vgg


def score_edits(
    cases: Sequence[EditSample],
    edits: Mapping[str, Edited],
    judge: Clip,
    vgg: Vgg,
    batch: int,
    inception: Inception | None = None,
) -> dict[str, SystemScores]:
    """Score every system on the same cases, with the candidates of :func:`stages.comparison.candidates.candidates_of`.

    Args:
        cases: n; ``metadata["relation"]`` names the kind of edit.
        edits: system → its edits of the cases.
        judge: a CLIP that nothing was trained against.
        vgg: computes the features of the perceptual distance.
        batch: pictures, or texts, per forward pass.
        inception: computes the features of FID; None leaves FID out.

    Raises:
        InputError: pictures do not fit the cases, or leave [0, 1], or a case names candidates that cannot be used.
    """
    asked = Cases(
        sources=to_tensor([case.source for case in cases]),
        masks=mask_to_tensor([case.source_mask for case in cases]),
        captions=[case.source_caption for case in cases],
        prompts=[case.edit_prompt for case in cases],
        target_terms=[case.target_diff for case in cases],
        candidates=candidates_of(cases),
    )
    return {
        system: score_system(
            asked, edited.pictures.to(asked.sources), edited.failed.cpu(), judge, vgg, batch=batch, inception=inception
        )
        for system, edited in edits.items()
    }
