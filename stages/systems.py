"""The systems of Table 1: each is a way to edit a batch of cases, and all that decides what comes of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from diffusers import StableDiffusionInstructPix2PixPipeline
from torch import Tensor

from stages.diffusion.sampling import draw_noise
from stages.editor import Editor
from stages.models import Diffusion
from stages.params import Params, Sampling
from stages.requests import adjust_sampling

SYSTEMS = ("sdedit", "inpainting", "instruct_pix2pix", "iedit", "iedit_m")
Masks = Literal["true", "predicted"]
Edit = Callable[[Tensor, Sequence[str], Tensor | None, int, Sequence[str]], Tensor]
"""(pictures in [0, 1], prompts, masks, seed, keys) → edited pictures; noise depends on seed and key alone."""


@dataclass(frozen=True, kw_only=True)
class System:
    """What is compared."""

    edit: Edit
    settings: dict[str, Any]  # all that decides its edits besides the cases, the seed and the masks; JSON
    masks: Masks | None  # where it may edit; None: everywhere


@dataclass(frozen=True, kw_only=True)
class Models:
    """The models behind the systems, and what pins the weights of each."""

    base: Editor
    instructed: Diffusion
    tuned: Editor
    identities: dict[str, str]  # of "base", "instructed" and "tuned"

    def system(self, name: str, sampling: Sampling, image_guidance_scale: float | None = None) -> System:
        """Return a system of SYSTEMS that samples so; the second scale is InstructPix2Pix's alone."""
        base, tuned = self.identities["base"], self.identities["tuned"]
        match name:
            case "sdedit":
                return edited_by(self.base, base, sampling)
            case "inpainting":
                return edited_by(self.base, base, sampling, masks="true", from_noise=True)
            case "iedit":
                return edited_by(self.tuned, tuned, sampling)
            case "iedit_m":
                return edited_by(self.tuned, tuned, sampling, masks="predicted")
            case "instruct_pix2pix" if image_guidance_scale is not None:
                return instructed_by(self.instructed, self.identities["instructed"], sampling, image_guidance_scale)
        raise ValueError(f"{name}: no such system, or a scale is missing; there are {', '.join(SYSTEMS)}")


def chosen_systems(models: Models, params: Params) -> dict[str, System]:
    """Return every system of SYSTEMS, sampled as params.yaml says.

    Raises:
        InputError: with ``sampling.steps`` a strength leaves no step to do.
    """
    chosen, common = params.evaluate.systems, params.sampling
    sampled = {
        "sdedit": adjust_sampling(common, **chosen.sdedit.model_dump()),
        "inpainting": adjust_sampling(common, strength=1.0, guidance_scale=chosen.inpainting.guidance_scale),
        "instruct_pix2pix": adjust_sampling(common, guidance_scale=chosen.instruct_pix2pix.guidance_scale),
        "iedit": adjust_sampling(common, **chosen.iedit.model_dump()),
        "iedit_m": common,
    }
    return {name: models.system(name, sampled[name], chosen.instruct_pix2pix.image_guidance_scale) for name in SYSTEMS}


def edited_by(
    editor: Editor, identity: str, sampling: Sampling, *, masks: Masks | None = None, from_noise: bool = False
) -> System:
    """Return SDEdit with an editor's model: everywhere or within masks, from the noised source or from noise alone."""

    def edit(pictures: Tensor, prompts: Sequence[str], masks: Tensor | None, seed: int, keys: Sequence[str]) -> Tensor:
        return editor.edit_batch(pictures, prompts, masks=masks, sampling=sampling, seed=seed, keys=keys, from_noise=from_noise)

    settings = {"model": identity, "from_noise": from_noise, **sampling.model_dump(exclude={"mask_threshold"})}
    return System(edit=edit, settings=settings, masks=masks)


def instructed_by(diffusion: Diffusion, identity: str, sampling: Sampling, image_guidance_scale: float) -> System:
    """Return InstructPix2Pix (Brooks et al. 2023), run by diffusers' own pipeline with DDIM.

    It starts from noise alone, so ``sampling.strength`` has no part in it.
    """
    pipeline = StableDiffusionInstructPix2PixPipeline(
        vae=diffusion.vae,
        text_encoder=diffusion.text_encoder,
        tokenizer=diffusion.tokenizer,
        unet=diffusion.unet,
        scheduler=diffusion.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)

    @torch.inference_mode()
    def edit(pictures: Tensor, prompts: Sequence[str], _: Tensor | None, seed: int, keys: Sequence[str]) -> Tensor:
        height, width = (side // pipeline.vae_scale_factor for side in pictures.shape[-2:])
        shape = torch.Size((diffusion.vae.config.latent_channels, height, width))
        text = diffusion.embed_prompts(prompts)  # a tokenizer need not know its context, as the pipeline thinks
        edited: Tensor = pipeline(
            image=pictures,
            prompt_embeds=text,
            negative_prompt_embeds=diffusion.embed_prompts([""]).expand_as(text),
            latents=torch.stack([draw_noise(shape, seed, key) for key in keys]).to(pictures),
            num_inference_steps=sampling.steps,
            guidance_scale=sampling.guidance_scale,
            image_guidance_scale=image_guidance_scale,
            output_type="pt",
        ).images
        return edited

    scales = {"guidance_scale": sampling.guidance_scale, "image_guidance_scale": image_guidance_scale}
    return System(edit=edit, settings={"model": identity, "steps": sampling.steps, **scales}, masks=None)
