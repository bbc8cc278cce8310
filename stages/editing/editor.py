"""The trained editor: pictures and prompts in, edited pictures out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from stages.core.errors import InputError, shorten
from stages.core.params import ModelName, Sampling
from stages.diffusion.masks import shrink_mask, widen_mask
from stages.diffusion.sampling import draw_noise, edit_latents, make_scheduler
from stages.editing.request import EditRequest, MaskMode, NothingToMaskError
from stages.models.latent_diffusion import Diffusion, load_diffusion
from stages.models.segmenter import Segmenter, load_segmenter
from stages.models.tensors import to_images, to_tensor

EDIT_MASK_COVERAGE = 0.25  # the share of a latent cell that a mask must cover; low, to keep thin parts of an object


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
        before_step: Callable[[], object] = lambda: None,
    ) -> list[Image.Image]:
        """Return ``images`` different edits of one picture, made in one batch, of the picture's size.

        Args:
            request: the picture, the prompt, and the words to find the mask by.
            mask_mode: where the mask comes from.
            sampling: solver, steps, strength, guidance and mask settings.
            images: how many edits, at least 1.
            seed: decides the noise.
            before_step: called before every denoising step; an error that it raises ends the edit.

        Raises:
            NothingToMaskError: CLIPSeg finds nothing to mask.
            InputError: the mask mode and the request do not fit together, the mask is empty at the model's size, the picture
                is long and narrow, a text is longer than a model reads, or a negative prompt would have no effect.
        """
        self._check(request, mask_mode, sampling)
        size = self._working_size(request.image.size)
        small = request.image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        pictures = to_tensor([small]).expand(images, -1, -1, -1)
        how: dict[str, Any] = {
            "sampling": sampling,
            "seed": seed,
            "keys": [str(number) for number in range(images)],
            "negative_prompt": request.negative_prompt,
            "before_step": before_step,
        }
        prompts = [request.prompt] * images
        match mask_mode:
            case MaskMode.NONE:
                masks = None
            case MaskMode.GIVEN:
                masks = request.given_mask(size).expand(images, -1, -1, -1)
            case MaskMode.PREDICTED:
                term = request.mask_term
                found = self._find(small, term, request.source_term, sampling.mask_threshold).expand(images, -1, -1, -1)
                masks = self.complete_masks(found, pictures, prompts, [term] * images, **how)
        if masks is not None:
            self._check_masks(masks)
        edits = to_images(self.edit_batch(pictures, prompts, masks=masks, **how))
        if size == request.image.size:
            return edits
        return [edit.resize(request.image.size, Image.Resampling.LANCZOS) for edit in edits]

    @torch.inference_mode()
    def edit_batch(
        self,
        pictures: Tensor,
        prompts: Sequence[str],
        *,
        masks: Tensor | None,
        sampling: Sampling,
        seed: int,
        keys: Sequence[str],
        negative_prompt: str = "",
        from_noise: bool = False,
        before_step: Callable[[], object] = lambda: None,
    ) -> Tensor:
        """Return edited pictures (n, 3, h, w) in [0, 1].

        Args:
            pictures: (n, 3, h, w) in [0, 1]; sides are multiples of the autoencoder's reduction.
            prompts: one per picture.
            masks: (n, 1, h, w), 1 where the edit belongs; None edits the whole picture.
            sampling: solver, steps, strength and guidance.
            seed: decides the noise.
            keys: n names; the noise of a picture depends on the seed and its name, not on its place in the batch.
            negative_prompt: what guidance leads away from; empty is plain classifier-free guidance.
            from_noise: start from noise alone, without the source in it.
            before_step: called before every denoising step.
        """
        source = self.diffusion.encode(pictures)
        noise = torch.stack([draw_noise(source.shape[1:], seed, key) for key in keys]).to(source)
        mask = None if masks is None else shrink_mask(masks, (source.shape[-2], source.shape[-1]), EDIT_MASK_COVERAGE)

        def predict_noise(latents: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
            before_step()
            noise: Tensor = self.diffusion.unet(latents, timestep, text, return_dict=False)[0]
            return noise

        edited = edit_latents(
            predict_noise,
            make_scheduler(sampling.solver, self.diffusion.scheduler),
            source,
            noise,
            self.diffusion.embed_prompts(prompts),
            self.diffusion.embed_prompts([negative_prompt]),
            steps=sampling.steps,
            strength=sampling.strength,
            guidance_scale=sampling.guidance_scale,
            mask=mask,
            from_noise=from_noise,
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
        if self.segmenter is None:
            raise InputError("this editor has no segmenter to predict masks with: give a mask, or edit without one")
        masks = (self.segmenter.probabilities(images, terms) >= threshold).float()
        missing = [row for row in range(len(images)) if not masks[row].any() and source_terms[row] is not None]
        if missing:
            found = self.segmenter.probabilities([images[row] for row in missing], [str(source_terms[row]) for row in missing])
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
        seed: int,
        keys: Sequence[str],
        negative_prompt: str = "",
        before_step: Callable[[], object] = lambda: None,
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
            seed: decides the noise.
            keys: n names, as in :func:`edit_batch`.
            negative_prompt: as in :func:`edit_batch`.
            before_step: called before every denoising step of the drafts.

        Raises:
            InputError: drafts are wanted, and the editor has no segmenter.
        """
        widened = widen_mask(masks, sampling.mask_margin)
        if not sampling.mask_draft:
            return widened
        how: dict[str, Any] = {"seed": seed, "keys": keys, "negative_prompt": negative_prompt, "before_step": before_step}
        drafts = self.edit_batch(pictures, prompts, masks=None, sampling=sampling, **how)
        shown = self.predict_masks(to_images(drafts), terms, [None] * len(terms), sampling.mask_threshold)
        return torch.maximum(widened, shown.to(widened)) * masks.amax(dim=(1, 2, 3), keepdim=True)

    def _check(self, request: EditRequest, mask_mode: MaskMode, sampling: Sampling) -> None:
        """Raise InputError for what can be refused before any model runs."""
        request.check_aspect()
        if request.negative_prompt and sampling.guidance_scale <= 1:
            raise InputError(f"a negative prompt needs guidance: guidance_scale = {sampling.guidance_scale:g} must be above 1")
        for name, text in {"prompt": request.prompt, "negative prompt": request.negative_prompt}.items():
            _refuse_unread(name, self.diffusion.unread(text))
        if mask_mode is MaskMode.PREDICTED and self.segmenter is not None:
            for name, text in {"term": request.mask_term, "source term": request.source_term or ""}.items():
                _refuse_unread(name, self.segmenter.unread(text))

    def _check_masks(self, masks: Tensor) -> None:
        """Raise InputError if a mask, (n, 1, h, w), has no latent cell to edit: the result would be the source."""
        height, width = masks.shape[-2:]
        unit = self._reduction
        cells = shrink_mask(masks, (height // unit, width // unit), EDIT_MASK_COVERAGE)
        if not cells.amax(dim=(1, 2, 3)).all():
            raise InputError(
                f"the mask marks nothing at the model's own size, {width} × {height}: it must be white where the picture may"
                f" change, in at least {unit} × {unit} of these pixels"
            )

    def _find(self, image: Image.Image, term: str, source_term: str | None, threshold: float) -> Tensor:
        """Return the mask of an edit of one picture, (1, 1, h, w), 0 or 1, not empty."""
        mask = self.predict_masks([image], [term], [source_term], threshold)
        if not mask.any():
            sought = " nor ".join(repr(each) for each in (term, source_term) if each is not None)
            raise NothingToMaskError(f"nothing in the picture looks like {sought}")
        return mask

    @property
    def _reduction(self) -> int:
        """Pixels a side of a latent cell."""
        return int(2 ** (len(self.diffusion.vae.config.block_out_channels) - 1))

    def _working_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the size to edit at: the model's own for the shorter side, both sides multiples of the U-Net's reduction."""
        unit = self._reduction * 2 ** (len(self.diffusion.unet.config.block_out_channels) - 1)
        scale = self.diffusion.unet.config.sample_size * self._reduction / min(size)
        width, height = (max(unit, round(side * scale / unit) * unit) for side in size)
        return width, height


def _refuse_unread(name: str, rest: str) -> None:
    if rest:
        raise InputError(f"{name}: longer than the model reads; it would not see the end, {shorten(rest)}")
