"""Where the edits of a picture are made, and at which size."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stages.core.errors import InputError, shorten
from stages.diffusion.masks import shrink_mask, widen_mask
from stages.editing.batch_editor import EDIT_MASK_COVERAGE
from stages.editing.blending import enlarge, feather
from stages.editing.job import EditJob, Region
from stages.editing.regions import Box, crop_boxes
from stages.editing.request import EditRequest, MaskMode
from stages.models.latent_diffusion import Diffusion
from stages.models.segmenter import Segmenter
from stages.models.tensors import device, mask_to_tensor, to_masks

MAX_RESULT_PIXELS = 200_000_000  # of all results of a job, which are in memory together


@dataclass(frozen=True, kw_only=True)
class WorkingSize:
    """The size at which a model edits."""

    side: int  # pixels of the shorter side
    cell: int  # pixels a side of a latent cell
    unit: int  # pixels that every side is a multiple of

    def of(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the width and height at which a picture of a width and height is edited."""
        scale = self.side / min(size)
        width, height = (max(self.unit, round(length * scale / self.unit) * self.unit) for length in size)
        return width, height

    def resized(self, picture: Image.Image) -> Image.Image:
        """Return a picture at the size at which it is edited."""
        return picture.resize(self.of(picture.size), Image.Resampling.LANCZOS)

    def marks_a_cell(self, mask: Tensor) -> bool:
        """Return whether a mask, (1, 1, h, w), has a latent cell to edit; otherwise the result would be the source."""
        height, width = mask.shape[-2:]
        return bool(shrink_mask(mask, (height // self.cell, width // self.cell), EDIT_MASK_COVERAGE).any())


def check_job(job: EditJob, diffusion: Diffusion, segmenter: Segmenter | None) -> None:
    """Raise InputError for what can be refused before any model runs."""
    request, scale = job.request, job.sampling.guidance_scale
    request.check_shape()
    width, height = request.image.size
    if width * height * job.images > MAX_RESULT_PIXELS:
        raise InputError(
            f"{job.images} results of {width} × {height} pixels: allowed are {MAX_RESULT_PIXELS:,} pixels in all: ask for fewer"
        )
    if request.negative_prompt and scale <= 1:
        raise InputError(f"a negative prompt needs guidance: guidance_scale = {scale:g} must be above 1")
    unread = {name: diffusion.unread(getattr(request, name)) for name in ("prompt", "negative_prompt")}
    if job.mask_mode is MaskMode.PREDICTED and segmenter is not None:
        unread |= {"term": segmenter.unread(request.mask_term), "source_term": segmenter.unread(request.source_term or "")}
    for name, rest in unread.items():
        if rest:
            raise InputError(
                f"{name.replace('_', ' ')}: longer than the model reads; it would not see the end, {shorten(rest)}"
            )


def regions_given(request: EditRequest, picture: Image.Image, size: WorkingSize) -> list[Region]:
    """Return where the edits within a given mask are made.

    Args:
        request: has the mask.
        picture: RGB, as the model sees it.
        size: the model's.

    Raises:
        InputError: there is no mask, it cannot be used, or no part of it is large enough for the model to see.
    """
    mask = request.given_mask()
    regions = []
    for box in _crops(mask, size, request.context):
        marked = mask.crop(box)
        region = _region(picture, box, marked, size)
        regions.append(replace(region, amount=feather(marked, round(size.cell * region.scale))))
    return _large_enough(regions, size, margin=0)


def regions_found(request: EditRequest, picture: Image.Image, found: Tensor, size: WorkingSize, margin: float) -> list[Region]:
    """Return where the edits within a predicted mask are made.

    Args:
        request: says how much context the model sees.
        picture: RGB, as the model sees it.
        found: the mask, (1, 1, h, w), 0 or 1, not empty, of the picture at the size at which it is edited.
        size: the model's.
        margin: how far the mask will be widened; see :func:`stages.diffusion.masks.widen_mask`.

    Raises:
        InputError: no part of the mask is large enough for the model to see.
    """
    mask = enlarge(to_masks(found)[0], picture.size)
    boxes = _crops(mask, size, request.context)
    if boxes == [(0, 0, *picture.size)]:
        regions = [Region(box=boxes[0], seen=size.resized(picture), mask=found, amount=None)]
    else:
        regions = [_region(picture, box, mask.crop(box), size) for box in boxes]
        regions = [replace(region, room=_room(region, picture.size, size.cell)) for region in regions]
    return _large_enough(regions, size, margin)


def _crops(mask: Image.Image, size: WorkingSize, context: float) -> list[Box]:
    return crop_boxes(np.asarray(mask) > 0, size.side, context)


def _region(picture: Image.Image, box: Box, marked: Image.Image, size: WorkingSize) -> Region:
    """Return the region of a picture in a box; ``marked`` is its part of the mask, "L"."""
    seen = size.resized(picture.crop(box))
    mask = (mask_to_tensor([marked.resize(seen.size, Image.Resampling.BILINEAR)]) >= 0.5).float()
    return Region(box=box, seen=seen, mask=mask, amount=None)


def _room(region: Region, whole: tuple[int, int], cell: int) -> Tensor:
    """Return (1, 1, h, w), 0 within a cell of the sides along which a region was cut out of its picture, else 1."""
    width, height = region.seen.size
    left, top, right, bottom = region.box
    room = torch.ones(1, 1, height, width)
    room[..., : cell * (top > 0), :] = 0
    room[..., :, : cell * (left > 0)] = 0
    room[..., height - cell * (bottom < whole[1]) :, :] = 0
    room[..., :, width - cell * (right < whole[0]) :] = 0
    return room.to(device())


def _large_enough(regions: Sequence[Region], size: WorkingSize, margin: float) -> list[Region]:
    """Return the regions whose mask, widened by a margin, has a latent cell to edit."""
    kept = [region for region in regions if region.mask is not None and size.marks_a_cell(widen_mask(region.mask, margin))]
    if not kept:
        width, height = regions[0].seen.size
        raise InputError(
            f"the mask marks nothing at the model's own size, {width} × {height}: it must be white where the picture may"
            f" change, in at least {size.cell} × {size.cell} of these pixels"
        )
    return kept
