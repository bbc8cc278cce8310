"""A training that continues the champion: the U-Net has its weights, and the teacher is the base nevertheless."""

import copy
import dataclasses

import torch

from stages.core.paths import START
from stages.tracking.start import UNET
from stages.training.iedit import IEdit
from stages.training.session import _load_start
from tests.support.objective import ALL_ON
from tests.support.training import assert_same


def test_the_teacher_stays_the_base_where_all_weights_change(tools, workplace):
    base = copy.deepcopy(tools.diffusion.unet.state_dict())
    champion = copy.deepcopy(tools.diffusion.unet)
    with torch.no_grad():
        for weight in champion.parameters():
            weight.add_(1)
    champion.save_pretrained(START / UNET)

    diffusion = dataclasses.replace(tools.diffusion, unet=copy.deepcopy(tools.diffusion.unet))
    guided = ALL_ON.model_copy(update={"noise": "guided"})
    method = IEdit(diffusion, tools.clip, tools.vgg, guided, 0.2)
    _load_start(method.unet)

    assert_same(method.unet.state_dict(), champion.state_dict())
    assert_same(method.networks.teacher.state_dict(), base)
    assert not any(weight.requires_grad for weight in method.unet.parameters())


def test_the_teacher_shares_what_the_champion_left(tools, workplace):
    champion = copy.deepcopy(tools.diffusion.unet)
    changed, *_ = champion.state_dict()
    with torch.no_grad():
        champion.state_dict()[changed].add_(1)
    champion.save_pretrained(START / UNET)

    diffusion = dataclasses.replace(tools.diffusion, unet=copy.deepcopy(tools.diffusion.unet))
    method = IEdit(diffusion, tools.clip, tools.vgg, ALL_ON.model_copy(update={"noise": "guided"}), 0.2)
    before = shared(method)
    _load_start(method.unet)

    assert_same(method.unet.state_dict(), champion.state_dict())
    assert shared(method) == before - {changed} != set()


def shared(method: IEdit) -> set[str]:
    """The weights that the teacher has in common with the U-Net."""
    weights, theirs = method.unet.state_dict(), method.networks.teacher.state_dict()
    return {name for name, weight in theirs.items() if weight.data_ptr() == weights[name].data_ptr()}
