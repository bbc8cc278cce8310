"""Where an edit would take place, to be shown and mended before the edit is made."""

from dataclasses import dataclass

from PIL import Image, ImageChops
from torch import Tensor

from stages.diffusion.masks import widen_mask
from stages.editing.blending import enlarge
from stages.editing.editor import Editor
from stages.editing.job import EditJob, Region
from stages.editing.results import noise_key
from stages.models.tensors import to_masks, to_tensor


@dataclass(frozen=True, kw_only=True)
class FoundMasks:
    """A predicted mask in its two parts, "L" pictures of the picture's size with the levels 0 and 255."""

    found: Image.Image  # where CLIPSeg finds the term or the source term, widened
    draft: Image.Image | None  # what a draft of the edit adds; None where no drafts are made


def find_masks(editor: Editor, job: EditJob) -> FoundMasks:
    """Return the mask that a job's first result would be edited within; its mask mode must be "predicted".

    Raises:
        InputError: see :meth:`stages.editing.editor.Editor.plan`.
    """
    plan, sampling, request = editor.plan(job), job.sampling, job.request
    found = Image.new("L", request.image.size)
    draft = Image.new("L", request.image.size) if sampling.mask_draft else None
    for place, region in enumerate(plan.regions):
        assert region.mask is not None  # masks are predicted
        widened = widen_mask(region.mask, sampling.mask_margin)
        _draw(found, region, widened)
        if draft is not None:
            completed = editor.complete_masks(
                region.mask,
                to_tensor([region.seen]),
                [request.prompt],
                [request.mask_term],
                sampling=sampling,
                seed=job.seed,
                keys=[noise_key(0, place)],
                negative_prompt=request.negative_prompt,
            )
            _draw(draft, region, completed)
    return FoundMasks(found=found, draft=None if draft is None else ImageChops.subtract(draft, found))


def probabilities(editor: Editor, picture: Image.Image, words: list[str]) -> dict[str, float]:
    """Return how likely a picture shows each word: the highest probability that CLIPSeg gives to any pixel, 0 to 1.

    Raises:
        InputError: the editor has no segmenter.
    """
    seen = editor.size.resized(picture)
    found = editor.require_segmenter().probabilities([seen] * len(words), words)
    return dict(zip(words, found.amax(dim=(1, 2, 3)).tolist(), strict=True))


def _draw(picture: Image.Image, region: Region, mask: Tensor) -> None:
    left, top, right, bottom = region.box
    picture.paste(enlarge(to_masks(mask)[0], (right - left, bottom - top)), region.box)
