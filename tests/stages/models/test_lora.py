"""LoRA of a U-Net: it begins as no change, and merged, in a file, or beside the weights it gives the same predictions."""

import copy

import pytest
import torch
from diffusers.utils import convert_state_dict_to_kohya
from peft import get_peft_model_state_dict
from safetensors.torch import load_file

from stages.models.hub import ModelError
from stages.models.layout import LORA
from stages.models.lora import add_lora, has_lora, load_lora, lora_layers, merge_lora, read_facts, save_lora
from tests.support.training import assert_same, changed

RANK = 3


@torch.no_grad()
def predict(unet, tools) -> torch.Tensor:
    noisy = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    return unet(noisy, 500, tools.diffusion.embed_prompts(["a dog", "a cat"]).text).sample


@pytest.fixture
def unet(tools):
    """The tiny base's U-Net with a LoRA that changes what it predicts."""
    found = copy.deepcopy(tools.diffusion.unet)
    add_lora(found, RANK, 0)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in lora_layers(found).parameters():
            weight.add_(torch.randn_like(weight) / 3)
    assert (predict(found, tools) - predict(tools.diffusion.unet, tools)).abs().max() > 1e-2
    return found


def test_a_new_lora_changes_nothing(tools):
    found = [copy.deepcopy(tools.diffusion.unet) for _ in range(3)]
    state = torch.get_rng_state()
    for each, seed in zip(found, (0, 0, 1), strict=True):
        add_lora(each, RANK, seed)
        assert torch.equal(predict(each, tools), predict(tools.diffusion.unet, tools))
    assert torch.equal(torch.get_rng_state(), state)
    one, same, other = (lora_layers(each).state_dict() for each in found)
    assert changed(one, same) == set()
    assert changed(one, other) == {name for name, value in one.items() if value.abs().sum()}  # B is zero


def test_its_layers_are_all_that_is_added(tools, unet):
    added = {name: value for name, value in unet.named_parameters() if "lora_" in name}
    attention = (".to_q.weight", ".to_k.weight", ".to_v.weight", ".to_out.0.weight")
    projections = [name for name in tools.diffusion.unet.state_dict() if name.endswith(attention)]
    assert len(added) == 2 * len(projections)
    assert {id(value) for value in added.values()} == {id(value) for value in lora_layers(unet).parameters()}
    assert {min(value.shape) for value in added.values()} == {RANK}


def test_merged_it_predicts_the_same_without_layers_of_its_own(tools, unet):
    wanted = predict(unet, tools)
    assert has_lora(unet)
    merge_lora(unet)
    assert not has_lora(unet)
    assert unet.state_dict().keys() == tools.diffusion.unet.state_dict().keys()
    torch.testing.assert_close(predict(unet, tools), wanted, rtol=1e-4, atol=1e-5)


def test_a_file_has_the_names_that_diffusers_gives_for_kohya(unet, tmp_path):
    save_lora(unet, tmp_path / LORA, "base")
    weights = {f"unet.{name}": value for name, value in get_peft_model_state_dict(unet).items()}
    wanted = {name: value.float() for name, value in convert_state_dict_to_kohya(weights).items()}
    assert_same(load_file(tmp_path / LORA), wanted)


def test_weights_that_a_file_is_added_to_predict_the_same(tools, unet, tmp_path):
    """As ComfyUI and the web UIs add it: found by the name of the weight, W + alpha / rank · up · down."""
    save_lora(unet, tmp_path / LORA, "base")
    lora, patched = load_file(tmp_path / LORA), copy.deepcopy(tools.diffusion.unet)
    with torch.no_grad():
        for name, weight in patched.named_parameters():
            key = f"lora_unet_{name.removesuffix('.weight').replace('.', '_')}"
            if f"{key}.lora_up.weight" in lora:
                up, down, alpha = (lora.pop(f"{key}.{part}") for part in ("lora_up.weight", "lora_down.weight", "alpha"))
                weight.add_(alpha / len(down) * up @ down)
    assert lora == {}
    torch.testing.assert_close(predict(patched, tools), predict(unet, tools), rtol=1e-4, atol=1e-5)


def test_a_loaded_lora_is_the_one_that_was_saved(tools, unet, tmp_path):
    save_lora(unet, tmp_path / LORA, "base")
    assert read_facts(tmp_path) == (RANK, "base")
    other = copy.deepcopy(tools.diffusion.unet)
    add_lora(other, RANK, 1)
    load_lora(other, tmp_path)
    assert torch.equal(predict(other, tools), predict(unet, tools))


def test_another_rank_and_a_damaged_file_are_one_line(tools, unet, tmp_path):
    with pytest.raises(ModelError, match=r"no \.safetensors file"):
        read_facts(tmp_path)
    save_lora(unet, tmp_path / LORA, "base")
    other = copy.deepcopy(tools.diffusion.unet)
    add_lora(other, RANK + 1, 0)
    with pytest.raises(ModelError, match="incomplete or damaged: RuntimeError: "):
        load_lora(other, tmp_path)
    (tmp_path / LORA).write_bytes((tmp_path / LORA).read_bytes()[:-9])
    with pytest.raises(ModelError, match="incomplete or damaged: "):
        load_lora(unet, tmp_path)
