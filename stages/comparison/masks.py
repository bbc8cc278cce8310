"""The masks that the systems edit within."""

from collections.abc import Callable, Sequence

from torch import Tensor

from stages.comparison.systems import System
from stages.corpus.samples import EditSample
from stages.editing.batch_editor import BatchEditor
from stages.models.tensors import device, mask_to_tensor


def find_masks(finder: BatchEditor, cases: Sequence[EditSample], threshold: float) -> Tensor:
    """Return where the finder's segmenter expects the edits, (n, 1, h, w), 0 or 1.

    Args:
        finder: an editor with a segmenter.
        cases: n.
        threshold: the probability from which a pixel belongs to the mask, in (0, 1).
    """
    terms, source_terms = [case.target_diff for case in cases], [case.source_diff for case in cases]
    return finder.predict_masks([case.source for case in cases], terms, source_terms, threshold)


def masks_for(system: System, cases: Sequence[EditSample], predict: Callable[[], Tensor]) -> Tensor | None:
    """Return the masks that a system edits within, (n, 1, h, w), 0 or 1; None for a system that edits everywhere.

    Args:
        system: its ``masks`` decides.
        cases: n.
        predict: returns the predicted masks of these cases; called only for a system that uses them.
    """
    match system.masks:
        case "given":
            return mask_to_tensor([case.source_mask for case in cases]).round()
        case "predicted":
            return predict().to(device())
        case None:
            return None
