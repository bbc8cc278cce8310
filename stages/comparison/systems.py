"""The systems of Table 1: each edits a batch of cases and states every setting that decides its edits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import diffusers
import torch
from torch import Tensor

from stages.comparison.edited import Edited
from stages.core.errors import InputError
from stages.core.files import folder_digest
from stages.core.params import ModelName, Params, Sampling, Solver
from stages.core.paths import IEDIT, INSTRUCT_PIX2PIX
from stages.corpus.samples import EditSample
from stages.diffusion.masks import shrink_mask, widen_mask
from stages.diffusion.sampling import draw_noise, make_scheduler
from stages.editing.batch_editor import EDIT_MASK_COVERAGE, BatchEditor
from stages.editing.settings import adjust_sampling, read_precision
from stages.models.conditioning import Conditioning
from stages.models.families import STABLE_DIFFUSION_XL
from stages.models.hub import identity
from stages.models.latent_diffusion import Diffusion, PictureEncoder, load_diffusion
from stages.models.segmenter import load_segmenter
from stages.models.tensors import HOST, device, to_tensor

SYSTEMS = ("sdedit", "inpainting", "instruct_pix2pix", "iedit", "iedit_m")
CONTROLS = {"sdedit_as_iedit": "iedit", "sdedit_as_iedit_m": "iedit_m"}
"""A control, which is SDEdit → the system whose strength it uses."""
Masks = Literal["given", "predicted"]  # those of the cases, or a segmenter's
ARTICLES = ("a", "an", "the", "some")
UNUSED: dict[Masks | None, set[str]] = {
    None: {"mask_threshold", "mask_margin", "mask_draft"},
    "given": {"mask_threshold", "mask_draft"},
    "predicted": set(),
}
"""Masks of a system → the keys of Sampling that do not affect its edits."""
Edit = Callable[[Sequence[EditSample], Tensor | None, int], Edited]
"""(n cases, their masks (n, 1, h, w), 0 or 1, or None, seed) → the edits. The noise of a case depends on seed and key only."""


@dataclass(frozen=True, kw_only=True)
class System:
    """One of the compared ways to edit."""

    edit: Edit
    settings: dict[str, Any]  # every setting that decides its edits besides cases, seed and masks; JSON
    masks: Masks | None  # the masks it edits within; None: it edits everywhere
    prepare: Callable[[], None] = lambda: None  # brings its model to the device; called before its edits


@dataclass(frozen=True, kw_only=True)
class Models:
    """The models behind the systems, and the identity of each. They take turns on the device, as a GPU may hold but one."""

    base: BatchEditor
    instructed: Diffusion
    tuned: BatchEditor
    identities: dict[str, str]  # "base", "instructed", "tuned" → the name of its exact weights
    is_released: bool = False  # whether ``instructed`` is a released InstructPix2Pix, which knows instructions alone

    def bring(self, diffusion: Diffusion | None) -> None:
        """Move a model to the device, and the others to the host's memory; None moves all of them there."""
        for other in (self.base.diffusion, self.instructed, self.tuned.diffusion):
            if other is not diffusion:
                other.to(HOST)
        if diffusion is not None:
            diffusion.to(device())

    def in_turn(self, diffusion: Diffusion, system: System) -> System:
        """Return a system that brings its model to the device before its edits."""
        return replace(system, prepare=partial(self.bring, diffusion))

    def system(self, name: str, sampling: Sampling, image_guidance_scale: float | None = None) -> System:
        """Return a system of SYSTEMS.

        Args:
            name: one of SYSTEMS.
            sampling: its settings.
            image_guidance_scale: for InstructPix2Pix only.

        Raises:
            ValueError: there is no such system, or InstructPix2Pix lacks its second scale.
        """
        base, tuned = self.identities["base"], self.identities["tuned"]
        match name:
            case "sdedit":
                return self.in_turn(self.base.diffusion, edited_by(self.base, base, sampling))
            case "inpainting":
                # Like diffusers' inpainting: from noise alone at strength 1, else from the noised source.
                inpainting = edited_by(self.base, base, sampling, masks="given", from_noise=sampling.strength == 1)
                return self.in_turn(self.base.diffusion, inpainting)
            case "iedit":
                return self.in_turn(self.tuned.diffusion, edited_by(self.tuned, tuned, sampling))
            case "iedit_m":
                return self.in_turn(self.tuned.diffusion, edited_by(self.tuned, tuned, sampling, masks="predicted"))
            case "instruct_pix2pix" if image_guidance_scale is not None:
                words = instruction_of if self.is_released else description_of
                instructed = self.identities["instructed"]
                system = instructed_by(self.instructed, instructed, sampling, image_guidance_scale, words)
                return self.in_turn(self.instructed, system)
        raise ValueError(f"{name}: no such system, or a scale is missing; there are {', '.join(SYSTEMS)}")


def load_models(params: Params, tuned: Path = IEDIT) -> Models:
    """Load the base model, the segmenter, the model that the stage train trained, and InstructPix2Pix.

    Args:
        params: names the base model, the segmenter and a released InstructPix2Pix, if any, and the precision.
        tuned: the folder of the model behind ``iedit`` and ``iedit_m``, which edits in its own precision.

    Raises:
        ModelError: a model is missing, incomplete or damaged.
        InputError: the pipeline has not trained a model yet, or the settings of that in ``tuned`` are damaged.
    """
    config, precision = params.evaluate, params.precision
    released = config.systems.instruct_pix2pix.model
    for folder in (tuned,) if released else (tuned, INSTRUCT_PIX2PIX):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such model; the pipeline trains it: `dvc repro`")
    edits = ModelName.in_folder(tuned, read_precision(tuned))
    instructed = released or ModelName.in_folder(INSTRUCT_PIX2PIX, precision)
    return Models(
        base=BatchEditor(_load_to_host(config.base)),
        instructed=_load_to_host(instructed, pictures=2),
        tuned=BatchEditor(_load_to_host(edits), load_segmenter(config.segmenter)),
        identities={
            "base": identity(config.base),
            "instructed": identity(instructed),
            "tuned": folder_digest(tuned),
        },
        is_released=released is not None,
    )


def _load_to_host(model: ModelName, *, pictures: int = 1) -> Diffusion:
    """Load a model, and move it to the host's memory to wait for its turn."""
    diffusion = load_diffusion(model, pictures=pictures)
    diffusion.to(HOST)
    return diffusion


def chosen_systems(models: Models, params: Params) -> dict[str, System]:
    """Return every system of SYSTEMS with the settings in params.yaml, and the CONTROLS that the claims need.

    A control is SDEdit at the strength of iEdit or iEdit-M, with SDEdit's own guidance: a model that was trained to follow
    its prompt needs less of it.

    Raises:
        InputError: a strength leaves no step of ``sampling.steps`` to run.
    """
    chosen, common = params.evaluate.systems, params.sampling
    sampled = {
        "sdedit": adjust_sampling(common, **chosen.sdedit.model_dump()),
        "inpainting": adjust_sampling(common, strength=1.0, guidance_scale=chosen.inpainting.guidance_scale),
        "instruct_pix2pix": adjust_sampling(common, guidance_scale=chosen.instruct_pix2pix.guidance_scale),
        "iedit": adjust_sampling(common, **chosen.iedit.model_dump()),
        "iedit_m": common,
    }
    systems = {name: models.system(name, sampled[name], chosen.instruct_pix2pix.image_guidance_scale) for name in SYSTEMS}
    for control, name in CONTROLS.items():
        own = adjust_sampling(sampled[name], guidance_scale=chosen.sdedit.guidance_scale)
        systems[control] = models.system("sdedit", own)
    return systems


def edited_by(
    editor: BatchEditor, identity: str, sampling: Sampling, *, masks: Masks | None = None, from_noise: bool = False
) -> System:
    """Return SDEdit with an editor's model.

    Given masks are widened like predicted ones, because they mark the thing itself and its replacement may be larger. They
    get no draft, which is part of predicting a mask.

    Args:
        editor: the model; with a segmenter, if it edits within predicted masks and makes drafts.
        identity: the name of the model's exact weights.
        sampling: the settings.
        masks: the masks to edit within; None edits everywhere.
        from_noise: start from noise alone, not from the noised source.
    """

    def edit(cases: Sequence[EditSample], found: Tensor | None, seed: int) -> Edited:
        pictures, prompts = to_tensor([case.source for case in cases]), [case.edit_prompt for case in cases]
        terms, keys = [case.target_diff for case in cases], [case.key for case in cases]
        if found is None:
            where = None
        elif masks == "predicted":
            where = editor.complete_masks(found, pictures, prompts, terms, sampling=sampling, seed=seed, keys=keys)
        else:
            where = widen_mask(found, sampling.mask_margin)
        how: dict[str, Any] = {"sampling": sampling, "seed": seed, "keys": keys, "from_noise": from_noise}
        edited = editor.edit_batch(pictures, prompts, masks=where, **how)
        if where is None:
            return Edited.everywhere(edited)
        cell = PictureEncoder(editor.diffusion.vae).cell
        latent_size = (where.shape[-2] // cell, where.shape[-1] // cell)
        return Edited.within(edited, shrink_mask(where, latent_size, EDIT_MASK_COVERAGE))

    settings = {"model": identity, "from_noise": from_noise, **sampling.model_dump(exclude=UNUSED[masks])}
    return System(edit=edit, settings=settings, masks=masks)


def diffusers_pipeline(kind: Callable[..., Any], diffusion: Diffusion, solver: Solver = "ddim") -> Any:
    """Return a diffusers pipeline around a loaded model, without its progress bar.

    Args:
        kind: the class of the pipeline, one for the model's family.
        diffusion: the model.
        solver: which solver samples its noise schedule.
    """
    scheduler = make_scheduler(solver, diffusion.scheduler, diffusion.scheduler.config.prediction_type)
    pipeline = kind(**diffusion.components, scheduler=scheduler, **diffusion.family.pipeline_options)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def pipeline_prompts(prompts: Conditioning, empty_prompt: Conditioning) -> dict[str, Tensor]:
    """Return n prompts, and the one that guidance leads away from, as arguments of a diffusers pipeline."""
    names = {"text": "prompt_embeds", "pooled": "pooled_prompt_embeds"}
    given = {names[name]: value for name, value in prompts.columns().items()}
    empty = empty_prompt.expand(len(prompts)).columns()
    return given | {f"negative_{names[name]}": value for name, value in empty.items()}


def description_of(case: EditSample) -> str:
    """Return the edit prompt, which describes the wanted picture: what the model of the stage instruct is trained on."""
    return case.edit_prompt


def instruction_of(case: EditSample) -> str:
    """Return what a released InstructPix2Pix is trained on, an instruction: the case's own, or ``turn the dog into a cat``."""
    if given := case.metadata.get("instruction"):
        return str(given)
    before = case.edit_prompt.partition(case.target_diff)[0].split()
    start = max((place for place, word in enumerate(before) if word in ARTICLES), default=len(before))
    return f"turn the {case.source_diff} into {' '.join([*before[start:], case.target_diff])}"


def instructed_by(
    diffusion: Diffusion,
    identity: str,
    sampling: Sampling,
    image_guidance_scale: float,
    words: Callable[[EditSample], str] = description_of,
) -> System:
    """Return InstructPix2Pix (Brooks et al. 2023), run by diffusers' own pipeline.

    It starts from noise alone, so ``sampling.strength`` does not affect it.

    Args:
        diffusion: the model.
        identity: the name of the model's exact weights.
        sampling: solver, steps, and guidance towards the prompt.
        image_guidance_scale: guidance towards the source picture.
        words: returns the prompt of a case.
    """
    dtype = diffusion.unet.dtype
    if diffusion.vae.dtype != dtype:
        diffusion.vae.to(dtype)  # as the pipeline expects it, which widens one that overflows while it is used
    pipeline = diffusers_pipeline(getattr(diffusers, diffusion.family.pipelines[2]), diffusion, sampling.solver)

    @torch.inference_mode()
    def edit(cases: Sequence[EditSample], _: Tensor | None, seed: int) -> Edited:
        pictures = to_tensor([case.source for case in cases])
        height, width = pictures.shape[-2:]
        shape = torch.Size(PictureEncoder(diffusion.vae).shape(width, height))
        # Embedded here because the pipeline relies on the tokenizer to know its context.
        prompts = diffusion.embed_prompts([words(case) for case in cases])
        is_sized = diffusion.family is STABLE_DIFFUSION_XL  # its pipeline would resize the pictures; others cannot
        edited: Tensor = pipeline(
            image=pictures,
            **pipeline_prompts(prompts, diffusion.embed_prompts([""])),
            **({"height": height, "width": width} if is_sized else {}),
            latents=torch.stack([draw_noise(shape, seed, case.key) for case in cases]).to(pictures.device, dtype),
            num_inference_steps=sampling.steps,
            guidance_scale=sampling.guidance_scale,
            image_guidance_scale=image_guidance_scale,
            output_type="pt",
        ).images.float()
        return Edited.everywhere(edited)

    settings = {"model": identity, **sampling.model_dump(include={"solver", "steps", "guidance_scale"})}
    return System(edit=edit, settings={**settings, "image_guidance_scale": image_guidance_scale}, masks=None)
