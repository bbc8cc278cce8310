"""The optimiser with moments of 8 bits: near AdamW where its library is there, and else refused before anything is done."""

import importlib.util

import pytest
import torch

from stages.__main__ import stage_named
from stages.core.errors import InputError
from stages.training.optimizers import make_optimizer
from tests.support.training import assert_same, interrupt_at, params_for, place, tune

needs_library = pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is an extra")


def test_the_first_stage_names_a_missing_library_and_its_remedy(tools, monkeypatch):
    monkeypatch.setattr("stages.__main__.on_interrupt", lambda _: None)
    monkeypatch.setattr("stages.training.optimizers.find_spec", lambda _: None)
    message = r"^train\.optimizer = 'adamw8bit': needs bitsandbytes: pip install '\.\[bitsandbytes\]'$"
    with pytest.raises(InputError, match=message):
        stage_named("ingest")(params_for(tools.folder, optimizer="adamw8bit"))


@needs_library
def test_moments_of_8_bits_give_nearly_the_steps_of_adamw(tools):
    weights = {}
    for optimizer in ("adamw", "adamw8bit"):
        weight = torch.nn.Parameter(torch.randn(128, 128, generator=torch.Generator().manual_seed(0)))
        start = weight.detach().clone()
        stepping = make_optimizer([weight], params_for(tools.folder, optimizer=optimizer).train, on_gpu=False)
        for _ in range(5):
            (weight - 1).square().sum().backward()
            stepping.step()
            stepping.zero_grad()
        weights[optimizer] = weight.detach()
    moments = stepping.state[weight]
    assert {moments["state1"].dtype, moments["state2"].dtype} == {torch.uint8}
    gap, way = (weights["adamw8bit"] - weights["adamw"]).norm(), (weights["adamw"] - start).norm()
    assert 0 < gap < 0.1 * way


@needs_library
@pytest.mark.parametrize("precision", ["no", "fp16"])
def test_resumed_training_keeps_the_moments_of_8_bits(tools, tmp_path, precision):
    changes = {"optimizer": "adamw8bit", "precision": precision}
    straight = tune(tools, place(tmp_path, "straight"), **changes)
    with pytest.raises(KeyboardInterrupt):
        tune(tools, place(tmp_path, "stopped"), on_step=interrupt_at(4), **changes)
    assert_same(tune(tools, place(tmp_path, "stopped"), **changes), straight)
