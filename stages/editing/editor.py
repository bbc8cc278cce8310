"""The trained editor: pictures and prompts in, edited pictures out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from stages.core.errors import InputError
from stages.core.params import ModelName, Sampling
from stages.diffusion.masks import shrink_mask, widen_mask
from stages.diffusion.sampling import OnStep, Step, draw_noise, edit_latents, ignore_step, make_scheduler
from stages.editing.blending import match_colours
from stages.editing.job import EditJob, OnProgress, Plan, Progress, Region, Result, ignore_progress
from stages.editing.planning import EDIT_MASK_COVERAGE, WorkingSize, check_job, regions_found, regions_given
from stages.editing.request import EditRequest, MaskMode, NothingToMaskError
from stages.editing.results import EditedRow, Row, assemble, batches_of, edited_rows, preview, rows_of
from stages.models.latent_diffusion import Diffusion, load_diffusion
from stages.models.segmenter import Segmenter, load_segmenter
from stages.models.tensors import to_images, to_tensor


@dataclass(frozen=True)
class Editor:
    """A latent diffusion model that edits, and a CLIPSeg that finds where; the latter is needed for predicted masks only."""

    diffusion: Diffusion
    segmenter: Segmenter | None = None

    @classmethod
    def load(cls, model: ModelName, segmenter: ModelName) -> "Editor":
        """Load both models.

        Raises:
            ModelError: one of them is missing, incomplete or damaged.
        """
        return cls(load_diffusion(model), load_segmenter(segmenter))

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
        picture = request.seen_pixels()
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
        job, requests = rows[0].plan.job, [row.plan.job.request for row in rows]
        pictures, prompts = to_tensor([row.region.seen for row in rows]), [request.prompt for request in requests]
        how: dict[str, Any] = {
            "sampling": job.sampling,
            "seed": [row.plan.job.seed for row in rows],
            "keys": [row.key for row in rows],
            "negative_prompt": [request.negative_prompt for request in requests],
        }
        given = [row.region.mask for row in rows if row.region.mask is not None]
        masks = torch.cat(given) if given else None
        if masks is not None and job.mask_mode is MaskMode.PREDICTED:
            terms = [request.mask_term for request in requests]
            masks = self.complete_masks(masks, pictures, prompts, terms, on_step=lambda step: report(step, list), **how)

        def on_step(step: Step) -> None:
            report(step, lambda: edited_rows(rows, self.diffusion.decode(step.estimate()), masks))

        edits = self.edit_batch(pictures, prompts, masks=masks, on_step=on_step, **how)
        if masks is not None:
            edits = match_colours(edits, pictures, masks, self.size.cell)
        return edited_rows(rows, edits, masks)

    @torch.inference_mode()
    def edit_batch(
        self,
        pictures: Tensor,
        prompts: Sequence[str],
        *,
        masks: Tensor | None,
        sampling: Sampling,
        seed: int | Sequence[int],
        keys: Sequence[str],
        negative_prompt: str | Sequence[str] = "",
        from_noise: bool = False,
        on_step: OnStep = ignore_step,
    ) -> Tensor:
        """Return edited pictures (n, 3, h, w) in [0, 1].

        Args:
            pictures: (n, 3, h, w) in [0, 1]; sides are multiples of the autoencoder's reduction.
            prompts: one per picture.
            masks: (n, 1, h, w), 1 where the edit belongs; None edits the whole picture.
            sampling: solver, steps, strength and guidance.
            seed: decides the noise; one for all, or one per picture.
            keys: n names; the noise of a picture depends on its seed and its name, not on its place in the batch.
            negative_prompt: what guidance leads away from; empty is plain classifier-free guidance; one for all, or one per
                picture.
            from_noise: start from noise alone, without the source in it.
            on_step: called after every denoising step; an error that it raises ends the edit.
        """
        source = self.diffusion.encode(pictures)
        seeds = [seed] * len(keys) if isinstance(seed, int) else seed
        noise = torch.stack([draw_noise(source.shape[1:], *each) for each in zip(seeds, keys, strict=True)]).to(source)
        mask = None if masks is None else shrink_mask(masks, (source.shape[-2], source.shape[-1]), EDIT_MASK_COVERAGE)

        def predict_noise(latents: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
            noise: Tensor = self.diffusion.unet(latents, timestep, text, return_dict=False)[0]
            return noise

        edited = edit_latents(
            predict_noise,
            make_scheduler(sampling.solver, self.diffusion.scheduler),
            source,
            noise,
            self.diffusion.embed_prompts(prompts),
            self._embed_negative(negative_prompt),
            steps=sampling.steps,
            strength=sampling.strength,
            guidance_scale=sampling.guidance_scale,
            mask=mask,
            from_noise=from_noise,
            on_step=on_step,
        )
        return self.diffusion.decode(edited).clamp(0, 1)

    def predict_masks(
        self, images: Sequence[Image.Image], terms: Sequence[str], source_terms: Sequence[str | None], threshold: float
    ) -> Tensor:
        """Return binary masks (n, 1, h, w): where CLIPSeg finds the term or, if it finds none, the source term.

        A term names what the edit puts there, which the source often lacks; the edit then belongs where the replaced thing
        is. If neither is found the mask is empty, and an edit within it returns the source.

        Args:
            images: n, RGB, of one size.
            terms: n, what each edit is about.
            source_terms: n, what each edit replaces, if known.
            threshold: the probability from which a pixel belongs to the mask, in (0, 1).

        Raises:
            InputError: the editor has no segmenter.
        """
        segmenter = self.require_segmenter()
        masks = (segmenter.probabilities(images, terms) >= threshold).float()
        missing = [row for row in range(len(images)) if not masks[row].any() and source_terms[row] is not None]
        if missing:
            found = segmenter.probabilities([images[row] for row in missing], [str(source_terms[row]) for row in missing])
            masks[missing] = (found >= threshold).float()
        return masks

    def complete_masks(
        self,
        masks: Tensor,
        pictures: Tensor,
        prompts: Sequence[str],
        terms: Sequence[str],
        *,
        sampling: Sampling,
        seed: int | Sequence[int],
        keys: Sequence[str],
        negative_prompt: str | Sequence[str] = "",
        on_step: OnStep = ignore_step,
    ) -> Tensor:
        """Return masks (n, 1, h, w), 0 or 1, that cover both the thing in the picture and what replaces it.

        :func:`predict_masks` finds the outline of the thing in the picture, which would cut off a larger replacement. So
        the masks are widened. With ``sampling.mask_draft`` the whole picture is also edited once as a draft, and the place
        where CLIPSeg finds the term in the draft is added: from the same noise, the edit within the mask puts much the
        same thing in the same place. That outline is the replacement's own and is not widened. An empty mask stays empty,
        because a draft cannot show what to edit in a picture that does not have it.

        Args:
            masks: (n, 1, h, w), 0 or 1, from :func:`predict_masks`; widened by ``sampling.mask_margin``.
            pictures: (n, 3, h, w) in [0, 1]; sides are multiples of the autoencoder's reduction.
            prompts: one per picture.
            terms: n, what each edit is about.
            sampling: the settings of the draft and of the edit.
            seed: as in :meth:`edit_batch`, and so are keys and negative_prompt.
            keys: n names.
            negative_prompt: what guidance leads away from.
            on_step: called after every denoising step of the drafts; an error that it raises ends the work.

        Raises:
            InputError: drafts are wanted, and the editor has no segmenter.
        """
        widened = widen_mask(masks, sampling.mask_margin)
        if not sampling.mask_draft:
            return widened
        how: dict[str, Any] = {"seed": seed, "keys": keys, "negative_prompt": negative_prompt, "on_step": on_step}
        drafts = self.edit_batch(pictures, prompts, masks=None, sampling=sampling, **how)
        shown = self.predict_masks(to_images(drafts), terms, [None] * len(terms), sampling.mask_threshold)
        return torch.maximum(widened, shown.to(widened)) * masks.amax(dim=(1, 2, 3), keepdim=True)

    def _find(self, picture: Image.Image, request: EditRequest, threshold: float) -> Tensor:
        """Return the mask of a request in its picture at the size at which it is edited, (1, 1, h, w), 0 or 1, not empty."""
        term, source_term = request.mask_term, request.source_term
        mask = self.predict_masks([picture], [term], [source_term], threshold)
        if not mask.any():
            sought = " nor ".join(repr(each) for each in (term, source_term) if each is not None)
            raise NothingToMaskError(f"nothing in the picture looks like {sought}")
        return mask

    def _embed_negative(self, prompts: str | Sequence[str]) -> Tensor:
        """Return the text embeddings of negative prompts, (1 or n, context, d); each is embedded once."""
        rows = [prompts] if isinstance(prompts, str) else list(prompts)
        unique = list(dict.fromkeys(rows))
        embedded = self.diffusion.embed_prompts(unique)
        return embedded if len(unique) == 1 else embedded[[unique.index(row) for row in rows]]

    def require_segmenter(self) -> Segmenter:
        """Return the segmenter.

        Raises:
            InputError: the editor has none.
        """
        if self.segmenter is None:
            raise InputError("this editor has no segmenter to predict masks with: give a mask, or edit without one")
        return self.segmenter

    @property
    def size(self) -> WorkingSize:
        """The size at which pictures are edited."""
        cell = int(2 ** (len(self.diffusion.vae.config.block_out_channels) - 1))
        unit = cell * 2 ** (len(self.diffusion.unet.config.block_out_channels) - 1)
        return WorkingSize(side=self.diffusion.unet.config.sample_size * cell, cell=cell, unit=unit)
