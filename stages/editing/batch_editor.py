"""A model that edits batches of pictures at its own size, as tensors: what trainings and comparisons use."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor

from stages.core.errors import InputError
from stages.core.params import ModelName, Sampling
from stages.diffusion.masks import shrink_mask, widen_mask
from stages.diffusion.sampling import OnStep, draw_noise, edit_latents, ignore_step, make_scheduler
from stages.diffusion.unet import predict_noise
from stages.models.conditioning import Conditioning
from stages.models.latent_diffusion import Diffusion, load_diffusion
from stages.models.segmenter import Segmenter, load_segmenter
from stages.models.tensors import to_images

EDIT_MASK_COVERAGE = 0.25  # the share of a latent cell that a mask must cover; low, to keep thin parts of an object
LEAST_FOUND = 0.001  # share of a picture; CLIPSeg sees patches of 16 × 16 of 352 × 352 pixels, and this is half of one


@dataclass(frozen=True)
class BatchEditor:
    """A latent diffusion model that edits, and a CLIPSeg that finds where; the latter is needed for predicted masks only."""

    diffusion: Diffusion
    segmenter: Segmenter | None = None

    @classmethod
    def load(cls, model: ModelName, segmenter: ModelName) -> Self:
        """Load both models.

        Raises:
            ModelError: one of them is missing, incomplete or damaged.
        """
        return cls(load_diffusion(model), load_segmenter(segmenter))

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
        edited = edit_latents(
            partial(predict_noise, self.diffusion, self.diffusion.unet),
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
        is. If neither is found the mask is empty, and an edit within it returns the source. What is smaller than LEAST_FOUND is
        not found.

        Args:
            images: n, RGB, of one size.
            terms: n, what each edit is about.
            source_terms: n, what each edit replaces, if known.
            threshold: the probability from which a pixel belongs to the mask, in (0, 1).

        Raises:
            InputError: the editor has no segmenter.
        """
        segmenter = self.require_segmenter()
        masks = _found(segmenter.probabilities(images, terms), threshold)
        missing = [row for row in range(len(images)) if not masks[row].any() and source_terms[row] is not None]
        if missing:
            found = segmenter.probabilities([images[row] for row in missing], [str(source_terms[row]) for row in missing])
            masks[missing] = _found(found, threshold)
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
        shown = self.require_segmenter().probabilities(to_images(drafts), terms) >= sampling.mask_threshold
        return torch.maximum(widened, shown.to(widened)) * masks.amax(dim=(1, 2, 3), keepdim=True)

    def require_segmenter(self) -> Segmenter:
        """Return the segmenter.

        Raises:
            InputError: the editor has none.
        """
        if self.segmenter is None:
            raise InputError("this editor has no segmenter to predict masks with: give a mask, or edit without one")
        return self.segmenter

    def _embed_negative(self, prompts: str | Sequence[str]) -> Conditioning:
        """Return negative prompts, 1 or n, as the U-Net takes them; each is embedded once."""
        rows = [prompts] if isinstance(prompts, str) else list(prompts)
        unique = list(dict.fromkeys(rows))
        embedded = self.diffusion.embed_prompts(unique)
        return embedded if len(unique) == 1 else embedded[[unique.index(row) for row in rows]]


def _found(probabilities: Tensor, threshold: float) -> Tensor:
    """Return the masks of what was found, (n, 1, h, w), 0 or 1; a few stray pixels are nothing, so that mask is empty."""
    masks = (probabilities >= threshold).float()
    return masks * (masks.mean(dim=(1, 2, 3), keepdim=True) >= LEAST_FOUND)
