"""Where an edit would take place, to be shown and mended before the edit is made."""

from dataclasses import dataclass

from PIL import Image, ImageChops
from torch import Tensor

from stages.diffusion.masks import widen_mask
from stages.diffusion.sampling import OnStep, ignore_step
from stages.editing.blending import enlarge
from stages.editing.colours import as_seen
from stages.editing.editor import Editor
from stages.editing.job import EditJob, Region
from stages.editing.results import rows_of
from stages.models.tensors import to_masks


@dataclass(frozen=True, kw_only=True)
class FoundMasks:
    """A predicted mask in its two parts, "L" pictures of the picture's size with the levels 0 and 255."""

    found: Image.Image  # where CLIPSeg finds the term or the source term, widened
    draft: Image.Image | None  # what a draft of the edit adds; None where no drafts are made


def find_masks(editor: Editor, job: EditJob, on_step: OnStep = ignore_step) -> FoundMasks:
    """Return the mask that a job's first result would be edited within.

    Args:
        editor: the model.
        job: its mask mode must be "predicted".
        on_step: called after every denoising step of a draft; an error that it raises ends the work.

    Raises:
        InputError: see :meth:`stages.editing.editor.Editor.plan`.
    """
    plan, sampling = editor.plan(job), job.sampling
    found = Image.new("L", job.request.image.size)
    draft = Image.new("L", job.request.image.size) if sampling.mask_draft else None
    for row in rows_of(plan):
        if row.number == 0:
            assert row.region.mask is not None  # it is predicted
            _draw(found, row.region, widen_mask(row.region.mask, sampling.mask_margin))
            if draft is not None:
                completed = editor.row_masks([row], on_step)
                assert completed is not None
                _draw(draft, row.region, completed)
    return FoundMasks(found=found, draft=None if draft is None else ImageChops.subtract(draft, found))


def probabilities(editor: Editor, picture: Image.Image, words: list[str]) -> dict[str, float]:
    """Return how likely a picture shows each word: the highest probability that CLIPSeg gives to any pixel, 0 to 1.

    Raises:
        InputError: the editor has no segmenter.
    """
    seen = editor.size.resized(as_seen(picture))
    found = editor.require_segmenter().probabilities([seen] * len(words), words)
    return dict(zip(words, found.amax(dim=(1, 2, 3)).tolist(), strict=True))


def _draw(picture: Image.Image, region: Region, mask: Tensor) -> None:
    left, top, right, bottom = region.box
    picture.paste(enlarge(to_masks(mask)[0], (right - left, bottom - top)), region.box)
