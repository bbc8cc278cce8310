"""Competitors that train nothing: DiffEdit and Prompt-to-Prompt on the base model, both by DDIM whatever the solver."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from stages.comparison.edited import Edited
from stages.comparison.systems import Models, System
from stages.core.params import Params, Sampling
from stages.corpus.samples import EditSample
from stages.diffusion.diffedit import MASK_NOISES, contrast_mask, diffedit_latents
from stages.diffusion.prompt_to_prompt import align, prompt_to_prompt_latents
from stages.diffusion.sampling import draw_noise, make_scheduler
from stages.diffusion.unet import predict_noise
from stages.editing.settings import adjust_sampling
from stages.models.latent_diffusion import Diffusion
from stages.models.stable_diffusion import tokenize
from stages.models.tensors import to_tensor

TRAINING_FREE = ("diffedit", "prompt_to_prompt")


def diffedit_by(diffusion: Diffusion, identity: str, sampling: Sampling) -> System:
    """Return DiffEdit (Couairon et al. 2023), which finds its mask itself.

    Args:
        diffusion: the model.
        identity: the name of the model's exact weights.
        sampling: steps, the encoding ratio as strength, and guidance.
    """
    predict = partial(predict_noise, diffusion, diffusion.unet)

    @torch.inference_mode()
    def edit(cases: Sequence[EditSample], _: Tensor | None, seed: int) -> Edited:
        source = diffusion.encode(to_tensor([case.source for case in cases]))
        scheduler = make_scheduler("ddim", diffusion.scheduler)
        prompt = diffusion.embed_prompts([case.edit_prompt for case in cases])
        noises = [
            torch.stack([draw_noise(source.shape[1:], seed, case.key, "mask", number) for case in cases]).to(source)
            for number in range(MASK_NOISES)
        ]
        reference = diffusion.embed_prompts([case.source_caption for case in cases])
        mask = contrast_mask(predict, scheduler, source, noises, prompt, reference, steps=sampling.steps)
        edited = diffedit_latents(
            predict,
            scheduler,
            source,
            mask,
            prompt,
            diffusion.embed_prompts([""]),
            steps=sampling.steps,
            strength=sampling.strength,
            guidance_scale=sampling.guidance_scale,
        )
        return Edited.within(diffusion.decode(edited).clamp(0, 1), mask)

    settings = {"method": "diffedit", "model": identity}
    return System(
        edit=edit, settings={**settings, **sampling.model_dump(include={"steps", "strength", "guidance_scale"})}, masks=None
    )


def prompt_to_prompt_by(
    diffusion: Diffusion, identity: str, sampling: Sampling, *, cross_share: float, self_share: float
) -> System:
    """Return Prompt-to-Prompt (Hertz et al. 2023) on inverted pictures; it runs all steps, so it has no strength.

    Args:
        diffusion: the model.
        identity: the name of the model's exact weights.
        sampling: steps and guidance.
        cross_share: the share of the steps with the source's maps of cross-attention.
        self_share: the same for self-attention.
    """
    tokenizer, context = diffusion.components["tokenizer"], diffusion.prompts.shapes["text"][0]

    def tokens_of(prompts: Sequence[str]) -> list[list[int]]:
        return tokenize(tokenizer, prompts, context).tolist()

    @torch.inference_mode()
    def edit(cases: Sequence[EditSample], _: Tensor | None, __: int) -> Edited:
        captions, prompts = [case.source_caption for case in cases], [case.edit_prompt for case in cases]
        edited = prompt_to_prompt_latents(
            partial(predict_noise, diffusion, diffusion.unet),
            diffusion.unet,
            make_scheduler("ddim", diffusion.scheduler),
            diffusion.encode(to_tensor([case.source for case in cases])),
            align(tokens_of(captions), tokens_of(prompts)),
            diffusion.embed_prompts(captions),
            diffusion.embed_prompts(prompts),
            diffusion.embed_prompts([""]),
            steps=sampling.steps,
            guidance_scale=sampling.guidance_scale,
            cross_share=cross_share,
            self_share=self_share,
        )
        return Edited.everywhere(diffusion.decode(edited).clamp(0, 1))

    settings = {"method": "prompt-to-prompt", "model": identity, **sampling.model_dump(include={"steps", "guidance_scale"})}
    return System(edit=edit, settings={**settings, "cross_share": cross_share, "self_share": self_share}, masks=None)


def training_free_system(models: Models, name: str, common: Sampling, settings: Mapping[str, float]) -> System:
    """Return a system of TRAINING_FREE on the base model.

    Args:
        models: their base is used.
        name: one of TRAINING_FREE.
        common: the settings of all systems.
        settings: its own: ``strength`` and ``guidance_scale`` of DiffEdit, ``guidance_scale``, ``cross_share`` and
            ``self_share`` of Prompt-to-Prompt.

    Raises:
        InputError: one is out of range, or the strength leaves no step to run.
    """
    diffusion, identity = models.base.diffusion, models.identities["base"]
    if name == "diffedit":
        return models.in_turn(diffusion, diffedit_by(diffusion, identity, adjust_sampling(common, **settings)))
    sampling = adjust_sampling(common, guidance_scale=settings["guidance_scale"])
    shares = {"cross_share": settings["cross_share"], "self_share": settings["self_share"]}
    return models.in_turn(diffusion, prompt_to_prompt_by(diffusion, identity, sampling, **shares))


def chosen_training_free(models: Models, params: Params) -> dict[str, System]:
    """Return every system of TRAINING_FREE with the settings in params.yaml.

    Raises:
        InputError: a strength leaves no step of ``sampling.steps`` to run.
    """
    chosen = params.benchmark.model_dump(include=set(TRAINING_FREE))
    return {name: training_free_system(models, name, params.sampling, chosen[name]) for name in TRAINING_FREE}
