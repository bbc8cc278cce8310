"""The editor of photographs: requests in, edited pictures of any size out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor

from stages.core.params import ModelName, Sampling
from stages.diffusion.sampling import OnStep, Step, ignore_step
from stages.editing.batch_editor import BatchEditor
from stages.editing.blending import match_colours
from stages.editing.colours import as_seen
from stages.editing.job import EditJob, OnProgress, Plan, Progress, Region, Result, ignore_progress
from stages.editing.planning import WorkingSize, check_job, regions_found, regions_given
from stages.editing.request import EditRequest, MaskMode, NothingToMaskError
from stages.editing.results import EditedRow, Row, assemble, batches_of, edited_rows, preview, rows_of
from stages.editing.settings import read_precision
from stages.models.latent_diffusion import PictureEncoder
from stages.models.tensors import to_tensor


@dataclass(frozen=True)
class Editor(BatchEditor):
    """Edits photographs: it decides where and at which size they are edited, and puts the edits back into them."""

    @classmethod
    def load_trained(cls, model: Path, segmenter: Path) -> Self:
        """Load a trained model and the segmenter beside it, from their folders, in the precision that the model names.

        Raises:
            ModelError: one of them is missing, incomplete or damaged.
            InputError: the model's settings are damaged.
        """
        precision = read_precision(model)
        return cls.load(ModelName.in_folder(model, precision), ModelName.in_folder(segmenter, precision))

    def edit(
        self,
        request: EditRequest,
        *,
        mask_mode: MaskMode,
        sampling: Sampling,
        images: int = 1,
        seed: int = 0,
        on_progress: OnProgress = ignore_progress,
    ) -> list[Image.Image]:
        """Return ``images`` different edits of one picture, made in one batch, of the picture's size.

        The arguments are those of :class:`stages.editing.job.EditJob`; errors are those of :meth:`plan`.
        """
        job = EditJob(request=request, mask_mode=mask_mode, sampling=sampling, images=images, seed=seed)
        return self.edit_many([self.plan(job)], on_progress)[0].images

    def plan(self, job: EditJob) -> Plan:
        """Check a job, and decide where its edits are made.

        Without a mask that is the whole picture. Within a mask that is much smaller than the picture, it is a crop around
        the mask; a predicted mask is found in the whole picture first.

        Raises:
            NothingToMaskError: CLIPSeg finds nothing to mask.
            InputError: the mask mode and the request do not fit together, the mask is empty, also at the model's size, the
                picture is long and narrow, a text is longer than a model reads, or a negative prompt would have no effect.
        """
        request, size = job.request, self.size
        check_job(job, self.diffusion, self.segmenter)
        picture = as_seen(request.image)
        match job.mask_mode:
            case MaskMode.NONE:
                whole = (0, 0, *picture.size)
                regions = [Region(box=whole, seen=size.resized(picture), mask=None, amount=None)]
            case MaskMode.GIVEN:
                regions = regions_given(request, picture, size)
            case MaskMode.PREDICTED:
                found = self._find(size.resized(picture), request, job.sampling.mask_threshold)
                regions = regions_found(request, picture, found, size, job.sampling.mask_margin)
        return Plan(job=job, regions=tuple(regions))

    def edit_many(self, plans: Sequence[Plan], on_progress: OnProgress = ignore_progress) -> list[Result]:
        """Return the results of several plans, denoised together; they do not depend on the company beyond rounding.

        Args:
            plans: of equal sampling and mask mode; rows of equal size share a batch.
            on_progress: called after every denoising step; an error that it raises ends all of the work.
        """
        job = plans[0].job
        is_drafted = job.mask_mode is MaskMode.PREDICTED and job.sampling.mask_draft
        batches = batches_of([row for plan in plans for row in rows_of(plan)])
        passes = len(batches) * (1 + is_drafted)
        numbers = count(1)
        edited: list[EditedRow] = []

        def report(step: Step, shown: Callable[[], list[EditedRow]]) -> None:
            def previews() -> list[list[Image.Image]]:
                rows = [*edited, *shown()]
                return [preview(plan, [row for row in rows if row.row.plan is plan]) for plan in plans]

            on_progress(Progress(step=next(numbers), of=passes * step.of, previews=previews))

        for rows in batches:
            edited += self._edit_rows(rows, report)
        return [assemble(plan, [row for row in edited if row.row.plan is plan], self.size.cell) for plan in plans]

    def _edit_rows(self, rows: Sequence[Row], report: Callable[[Step, Callable[[], list[EditedRow]]], None]) -> list[EditedRow]:
        """Return the edits of rows of equal size, sampling and mask mode, made in one batch.

        Args:
            rows: at least one.
            report: called after every step, with a function that returns the rows as they are now; none while drafting.
        """
        pictures, prompts, how = _inputs(rows)
        masks = self.row_masks(rows, on_step=lambda step: report(step, list))

        def on_step(step: Step) -> None:
            report(step, lambda: edited_rows(rows, self.diffusion.decode(step.estimate()), masks))

        edits = self.edit_batch(pictures, prompts, masks=masks, on_step=on_step, **how)
        if masks is not None:
            edits = match_colours(edits, pictures, masks, self.size.cell)
        return edited_rows(rows, edits, masks)

    def row_masks(self, rows: Sequence[Row], on_step: OnStep = ignore_step) -> Tensor | None:
        """Return the masks that rows of equal size, sampling and mask mode are edited within, (n, 1, h, w), 0 or 1.

        Predicted masks are completed, as far as their crops have room for a seam. Without masks, None is returned.
        """
        given = [row.region.mask for row in rows if row.region.mask is not None]
        if not given:
            return None
        masks = torch.cat(given)
        if rows[0].plan.job.mask_mode is MaskMode.GIVEN:
            return masks
        pictures, prompts, how = _inputs(rows)
        terms = [row.plan.job.request.mask_term for row in rows]
        completed = self.complete_masks(masks, pictures, prompts, terms, on_step=on_step, **how)
        rooms = [masks.new_ones(1, *masks.shape[1:]) if row.region.room is None else row.region.room for row in rows]
        return completed * torch.cat(rooms)

    def _find(self, picture: Image.Image, request: EditRequest, threshold: float) -> Tensor:
        """Return the mask of a request in its picture at the size at which it is edited, (1, 1, h, w), 0 or 1, not empty."""
        term, source_term = request.mask_term, request.source_term
        mask = self.predict_masks([picture], [term], [source_term], threshold)
        if not mask.any():
            sought = " nor ".join(repr(each) for each in (term, source_term) if each is not None)
            raise NothingToMaskError(f"nothing in the picture looks like {sought}")
        return mask

    @property
    def size(self) -> WorkingSize:
        """The size at which pictures are edited: that of the pictures that the model was trained on."""
        cell = PictureEncoder(self.diffusion.vae).cell
        unit = cell * 2 ** (len(self.diffusion.unet.config.block_out_channels) - 1)
        return WorkingSize(side=self.diffusion.unet.config.sample_size * cell, cell=cell, unit=unit)


def _inputs(rows: Sequence[Row]) -> tuple[Tensor, list[str], dict[str, Any]]:
    """Return the pictures of rows, (n, 3, h, w) in [0, 1], their prompts, and what else :meth:`Editor.edit_batch` needs."""
    requests = [row.plan.job.request for row in rows]
    how = {
        "sampling": rows[0].plan.job.sampling,
        "seed": [row.plan.job.seed for row in rows],
        "keys": [row.key for row in rows],
        "negative_prompt": [request.negative_prompt for request in requests],
    }
    return to_tensor([row.region.seen for row in rows]), [request.prompt for request in requests], how
