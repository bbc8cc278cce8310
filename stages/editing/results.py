"""Edits at the model's own size, put back into the photographs that they belong to."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageChops
from torch import Tensor

from stages.editing.blending import enlarge, feather, paste
from stages.editing.colours import in_colours_of
from stages.editing.job import Plan, Region, Result
from stages.models.tensors import to_images, to_masks

MAX_ROWS = 16  # of a denoising batch, because of memory


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """A row of a batch: one result of one region of a plan."""

    plan: Plan
    region: Region
    number: int  # of the result, from 0
    key: str  # what names its noise beside the seed


@dataclass(frozen=True, kw_only=True, eq=False)
class EditedRow:
    """What the model made of a row."""

    row: Row
    edit: Image.Image  # RGB, of the size at which it was edited
    mask: Image.Image | None  # "L", 0 or 255, of that size; None: all of it was edited


def rows_of(plan: Plan) -> list[Row]:
    """Return the rows that a plan needs."""
    return [
        Row(plan=plan, region=region, number=number, key=f"{number}/{place}" if place else str(number))
        for place, region in enumerate(plan.regions)
        for number in range(plan.job.images)
    ]


def batches_of(rows: Sequence[Row]) -> list[list[Row]]:
    """Return the rows by the size at which they are edited, in batches of at most MAX_ROWS."""
    by_size: dict[tuple[int, int], list[Row]] = {}
    for row in rows:
        by_size.setdefault(row.region.seen.size, []).append(row)
    return [alike[start : start + MAX_ROWS] for alike in by_size.values() for start in range(0, len(alike), MAX_ROWS)]


def edited_rows(rows: Sequence[Row], edits: Tensor, masks: Tensor | None) -> list[EditedRow]:
    """Return edited rows.

    Args:
        rows: n.
        edits: (n, 3, h, w) in [0, 1].
        masks: (n, 1, h, w), 0 or 1.
    """
    marked = [None] * len(rows) if masks is None else to_masks(masks)
    edited = zip(rows, to_images(edits), marked, strict=True)
    return [EditedRow(row=row, edit=edit, mask=mask) for row, edit, mask in edited]


def assemble(plan: Plan, rows: Sequence[EditedRow], cell: int) -> Result:
    """Return the results of a plan.

    Args:
        plan: what was edited.
        rows: all of its rows.
        cell: pixels a side of a latent cell, over which a seam is feathered.
    """
    picture = plan.job.request.image
    if any(row.mask is None for row in rows):
        edits = [row.edit for row in rows]
        return Result(images=[in_colours_of(picture, _resized(edit, picture.size)) for edit in edits], mask=None)
    images = [plan.job.request.own_pixels() for _ in range(plan.job.images)]
    changed = Image.new("L", picture.size)
    for row in rows:
        left, top, right, bottom = box = row.row.region.box
        amount = _amount(row, cell)
        paste(images[row.row.number], _resized(row.edit, (right - left, bottom - top)), amount, (left, top))
        changed.paste(ImageChops.lighter(changed.crop(box), amount), box)
    return Result(images=images, mask=changed)


def preview(plan: Plan, rows: Sequence[EditedRow]) -> list[Image.Image]:
    """Return the results of a plan as they are now, small.

    Args:
        plan: what is being edited.
        rows: those of its rows that are known.
    """
    images = [plan.thumbnail.copy() for _ in range(plan.job.images)]
    share = plan.thumbnail.width / plan.job.request.image.width
    for row in rows:
        left, top, right, bottom = (round(side * share) for side in row.row.region.box)
        size = (max(right - left, 1), max(bottom - top, 1))
        mask = row.mask or Image.new("L", row.edit.size, 255)
        paste(images[row.row.number], _resized(row.edit, size), mask.resize(size, Image.Resampling.BILINEAR), (left, top))
    return images


def _amount(row: EditedRow, cell: int) -> Image.Image:
    """Return how much of its edit each pixel of a region takes, "L", of the size that the region has in the picture."""
    region = row.row.region
    if region.amount is not None:
        return region.amount
    assert row.mask is not None  # a region without a mask is not pasted
    left, top, right, bottom = region.box
    marked = enlarge(row.mask, (right - left, bottom - top))
    return feather(marked, round(cell * region.scale))


def _resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)
