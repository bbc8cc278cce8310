"""The referee: a CLIPSeg that predicts masks for no system, and finds what an edit is about in sources without a true mask.

Scored within masks of its own segmenter, a system would be its own judge.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image

from stages.core.params import Params
from stages.models.hub import ModelError, find, identity, in_precision

if TYPE_CHECKING:
    from stages.models.segmenter import Segmenter


def check_referee(params: Params) -> None:
    """Refuse a referee with the weights of a segmenter that edits, or that masked the training set; precision aside.

    A model that is not on this machine is reported by the stage that loads it.

    Raises:
        ModelError: it has such weights.
    """
    referee = params.evaluate.referee
    if find(referee) is None:
        return
    for other in (params.evaluate.segmenter, params.segment.model):
        if find(other) is not None and identity(other) == in_precision(identity(referee), other.precision):
            raise ModelError(referee, f"has the weights of {other.key} = {other.name!r}; name a CLIPSeg that predicts no masks")


def load_referee(params: Params) -> "Segmenter":
    """Load ``evaluate.referee``.

    Raises:
        ModelError: it is missing or damaged, or :func:`check_referee` refuses it.
    """
    from stages.models.segmenter import load_segmenter

    check_referee(params)
    return load_segmenter(params.evaluate.referee)


def find_regions(
    referee: "Segmenter", pictures: Sequence[Image.Image], phrases: Sequence[str], threshold: float
) -> list[Image.Image | None]:
    """Return a mask, "L", 0 or 255, for each picture; None where it would be empty or the whole picture.

    Args:
        referee: the CLIPSeg.
        pictures: n, RGB, of one size.
        phrases: n; what to find in each.
        threshold: the probability from which a pixel is in the mask.
    """
    from stages.models.tensors import to_masks

    found = referee.probabilities(pictures, phrases) >= threshold
    return [
        mask if extent.any() and not extent.all() else None for mask, extent in zip(to_masks(found.float()), found, strict=True)
    ]
