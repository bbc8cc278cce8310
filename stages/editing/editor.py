"""The trained editor: pictures and prompts in, edited pictures out."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from PIL import Image
from torch import Tensor

from stages.core.errors import InputError
from stages.core.params import ModelName, Sampling
from stages.diffusion.masks import shrink_mask, widen_mask
from stages.diffusion.sampling import draw_noise, edit_latents, make_scheduler
from stages.models.latent_diffusion import Diffusion, load_diffusion
from stages.models.segmenter import Segmenter, load_segmenter
from stages.models.tensors import mask_to_tensor, to_images, to_tensor

LATENT_MASK_THRESHOLD = 0.25  # of a latent cell's area: thin parts of an object must not fall through the grid

MAX_ASPECT = 8  # the shorter side is worked on at the model's own size, so a narrow picture would take any room and time


class MaskMode(StrEnum):
    """Where the mask of an edit comes from."""

    PREDICTED = "predicted"
    GIVEN = "given"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class EditRequest:
    """One picture and what to make of it."""

    image: Image.Image  # RGB, any size
    prompt: str  # what the edited picture shows
    mask: Image.Image | None = None  # "L", of the image's size, white where the edit may change it
    term: str | None = None  # what of the prompt the edit is about; CLIPSeg is asked for it; None: the whole prompt
    source_term: str | None = None  # asked for where ``term`` finds nothing in the picture


@dataclass(frozen=True)
class Editor:
    """A latent diffusion model that edits, and the CLIPSeg that finds where, if masks are to be predicted."""

    diffusion: Diffusion
    segmenter: Segmenter | None = None

    @classmethod
    def load(cls, model: ModelName, segmenter: ModelName) -> "Editor":
        """Load both models."""
        return cls(load_diffusion(model), load_segmenter(segmenter))

    def edit(
        self, request: EditRequest, *, mask_mode: MaskMode, sampling: Sampling, images: int = 1, seed: int = 0
    ) -> list[Image.Image]:
        """Return ``images`` different edits of one picture, made in one batch, of the picture's size.

        Raises:
            InputError: the mask mode and the request do not fit together, nothing is found to mask, or the picture is long
                and narrow.
        """
        if max(request.image.size) > MAX_ASPECT * min(request.image.size):
            width, height = request.image.size
            raise InputError(f"the image is {width} × {height}: its longer side may be {MAX_ASPECT} times the shorter at most")
        size = self._working_size(request.image.size)
        small = request.image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        pictures = to_tensor([small]).expand(images, -1, -1, -1)
        prompts, keys = [request.prompt] * images, [str(number) for number in range(images)]
        match mask_mode:
            case MaskMode.NONE:
                masks = None
            case MaskMode.GIVEN:
                masks = _given_mask(request, size).expand(images, -1, -1, -1)
            case MaskMode.PREDICTED:
                term = request.term or request.prompt
                found = self._find(small, term, request.source_term, sampling.mask_threshold).expand(images, -1, -1, -1)
                masks = self.make_room(found, pictures, prompts, [term] * images, sampling=sampling, seed=seed, keys=keys)
        edits = self.edit_batch(pictures, prompts, masks=masks, sampling=sampling, seed=seed, keys=keys)
        results = to_images(edits)
        return (
            [edit.resize(request.image.size, Image.Resampling.LANCZOS) for edit in results]
            if size != request.image.size
            else results
        )

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
        from_noise: bool = False,
    ) -> Tensor:
        """Return edited pictures (n, 3, h, w) in [0, 1].

        Args:
            pictures: (n, 3, h, w) in [0, 1]; sides are multiples of the autoencoder's reduction.
            prompts: n prompts.
            masks: (n, 1, h, w) with 1 where the edit is, or None for an edit of the whole picture.
            sampling: solver, steps, strength, guidance.
            seed: of the noise.
            keys: n names; a picture's noise depends on the seed and its name, not on its place in the batch.
            from_noise: what is edited is made from noise alone, without the source in it.
        """
        source = self.diffusion.encode(pictures)
        noise = torch.stack([draw_noise(source.shape[1:], seed, key) for key in keys]).to(source)
        mask = None if masks is None else shrink_mask(masks, (source.shape[-2], source.shape[-1]), LATENT_MASK_THRESHOLD)
        edited = edit_latents(
            lambda latents, timestep, text: self.diffusion.unet(latents, timestep, text, return_dict=False)[0],
            make_scheduler(sampling.solver, self.diffusion.scheduler),
            source,
            noise,
            self.diffusion.embed_prompts(prompts),
            self.diffusion.embed_prompts([""]),
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
        """Return binary masks (n, 1, h, w): where each term is found, or else where its source term is.

        An edit names what shall be there, which the source often lacks: then the place of what it replaces is meant.
        Where neither is found the mask is empty, and an edit with it returns the source.

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

    def make_room(
        self,
        masks: Tensor,
        pictures: Tensor,
        prompts: Sequence[str],
        terms: Sequence[str],
        *,
        sampling: Sampling,
        seed: int,
        keys: Sequence[str],
    ) -> Tensor:
        """Return masks (n, 1, h, w), 0 or 1, that hold what is there and what takes its place.

        What :func:`predict_masks` finds has the outline of the thing in the picture, where a larger one is cut off. With
        ``sampling.mask_draft`` the whole picture is edited first, and where its term is found then is added to the mask: from
        the same noise, the edit within the mask makes much the same thing at the same place. Its outline is the new thing's
        own and is not widened. An empty mask stays empty: where there is nothing to edit, no draft tells what was meant.

        Args:
            masks: (n, 1, h, w), 0 or 1, of :func:`predict_masks`; they are widened by ``sampling.mask_margin``.
            pictures: (n, 3, h, w) in [0, 1]; sides are multiples of the autoencoder's reduction.
            prompts: n prompts.
            terms: n terms; what each edit is about.
            sampling: of the first edit as of the second.
            seed: of the noise.
            keys: n names, as :func:`edit_batch` has them.

        Raises:
            InputError: there are to be drafts, and the editor has no segmenter.
        """
        room = widen_mask(masks, sampling.mask_margin)
        if not sampling.mask_draft:
            return room
        drafts = self.edit_batch(pictures, prompts, masks=None, sampling=sampling, seed=seed, keys=keys)
        shown = self.predict_masks(to_images(drafts), terms, [None] * len(terms), sampling.mask_threshold)
        return torch.maximum(room, shown.to(room)) * masks.amax(dim=(1, 2, 3), keepdim=True)

    def _find(self, image: Image.Image, term: str, source_term: str | None, threshold: float) -> Tensor:
        """Return the mask of an edit of one picture, (1, 1, h, w), 0 or 1, which is not empty."""
        mask = self.predict_masks([image], [term], [source_term], threshold)
        if not mask.any():
            sought = " nor ".join(repr(each) for each in (term, source_term) if each is not None)
            raise InputError(
                f"nothing in the picture looks like {sought}: name what is there, give a mask, or edit without one"
            )
        return mask

    def _working_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the size to edit at: the model's own for the shorter side, both multiples of the U-Net's reduction."""
        reduction = 2 ** (len(self.diffusion.vae.config.block_out_channels) - 1)
        unit = reduction * 2 ** (len(self.diffusion.unet.config.block_out_channels) - 1)
        scale = self.diffusion.unet.config.sample_size * reduction / min(size)
        width, height = (max(unit, round(side * scale / unit) * unit) for side in size)
        return width, height


def _given_mask(request: EditRequest, size: tuple[int, int]) -> Tensor:
    """Return the mask of a request at the size of the edit, (1, 1, h, w), 0 or 1."""
    if request.mask is None:
        raise InputError("mask mode 'given' needs a mask")
    if request.mask.size != request.image.size:
        raise InputError(f"the mask is {request.mask.size}, the image {request.image.size}: they must have one size")
    return (mask_to_tensor([request.mask.convert("L").resize(size, Image.Resampling.BILINEAR)]) >= 0.5).float()
