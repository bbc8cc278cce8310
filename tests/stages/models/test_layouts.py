"""Every layout in which the hub keeps a checkpoint gives the same model."""

import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler

from stages.core.params import ModelName
from stages.models import hub
from stages.models.latent_diffusion import Diffusion, load_diffusion
from tests.support.checkpoints import EULER, PNDM, halve, put_scheduler, rename_old_attention, shard_unet, split_tokenizers

FAMILIES = ("diffusion", "diffusion_xl")
LAYOUTS = {
    "vocab and merges": split_tokenizers,
    "PNDM": partial(put_scheduler, config=PNDM),
    "Euler": partial(put_scheduler, config=EULER),
    "old attention names": rename_old_attention,
    "half precision too": partial(halve, keep=True),
    "sharded": shard_unet,
}


@pytest.fixture(params=FAMILIES)
def wanted(request, models) -> ModelName:
    """The tiny checkpoint of a family."""
    return getattr(models, request.param)


@pytest.fixture
def folder(wanted, tmp_path) -> Path:
    """A copy of it, to be rearranged."""
    hub.locate.cache_clear()  # it caches folders by name
    return Path(shutil.copytree(wanted.name, tmp_path / "checkpoint"))


@torch.no_grad()
def outputs(diffusion: Diffusion) -> list[torch.Tensor]:
    """What each part of a model makes of the same inputs."""
    generator = torch.Generator().manual_seed(0)
    pictures, latents = torch.rand(2, 3, 32, 32, generator=generator), torch.randn(2, 4, 16, 16, generator=generator)
    prompts = diffusion.embed_prompts(["a red dog", "The BEACH, twice"])
    noise = diffusion.unet(latents, torch.tensor([20, 700]), prompts.text, **prompts.added(32, 32)).sample
    encoded = [diffusion.encode(pictures), diffusion.decode(latents), *prompts.columns().values()]
    return [*encoded, noise, diffusion.scheduler.alphas_cumprod]


@pytest.mark.parametrize("rearrange", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts_of_the_hub_give_the_same_model(wanted, folder, rearrange):
    rearrange(folder)
    found = load_diffusion(ModelName(name=str(folder)))
    assert isinstance(found.scheduler, DDIMScheduler)
    for one, other in zip(outputs(found), outputs(load_diffusion(wanted)), strict=True):
        assert torch.equal(one, other)


def test_half_precision_alone_gives_the_model_rounded(wanted, folder):
    halve(folder, keep=False)
    found, whole = load_diffusion(ModelName(name=str(folder))).components, load_diffusion(wanted).components
    for part in (name for name in whole if "tokenizer" not in name):
        weights, rounded = whole[part].state_dict(), found[part].state_dict()
        assert all(torch.equal(rounded[name], value.half().float()) for name, value in weights.items()), part
