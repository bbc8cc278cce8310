"""The scores of every system's edits of the same cases."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from stages.corpus.samples import EditSample
from stages.metrics.evidence import Cases
from stages.metrics.scores import SystemScores, score_system
from stages.models.clip import Clip
from stages.models.tensors import mask_to_tensor, to_tensor
from stages.models.vgg import Vgg


def score_edits(
    cases: Sequence[EditSample], edits: Mapping[str, Tensor], judge: Clip, vgg: Vgg, batch: int
) -> dict[str, SystemScores]:
    """Score every system; what an edit could have become are the terms of all cases of its kind."""
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
    return {system: score_system(asked, edited.to(asked.sources), judge, vgg, batch=batch) for system, edited in edits.items()}
