"""LoRA of a U-Net: it begins as no change, and merged or beside the weights it gives the same predictions."""

import copy

import pytest
import torch
from safetensors.torch import load_file

from stages.models.lora import LORA_FILE, add_lora, lora_layers, merge_lora, save_lora
from tests.support.training import changed


@torch.no_grad()
def predict(unet, tools) -> torch.Tensor:
    noisy = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    return unet(noisy, 500, tools.diffusion.embed_prompts(["a dog", "a cat"]).text).sample


@pytest.fixture
def unet(tools):
    """The tiny base's U-Net with a LoRA of rank 3 that changes what it predicts."""
    found = copy.deepcopy(tools.diffusion.unet)
    add_lora(found, 3, 0)
    with torch.no_grad():
        torch.manual_seed(1)
        for weight in lora_layers(found).parameters():
            weight.add_(torch.randn_like(weight) / 3)
    return found


def test_a_new_lora_changes_nothing(tools):
    found = [copy.deepcopy(tools.diffusion.unet) for _ in range(3)]
    state = torch.get_rng_state()
    for each, seed in zip(found, (0, 0, 1), strict=True):
        add_lora(each, 3, seed)
        assert torch.equal(predict(each, tools), predict(tools.diffusion.unet, tools))
    assert torch.equal(torch.get_rng_state(), state)
    one, same, other = (lora_layers(each).state_dict() for each in found)
    assert changed(one, same) == set()
    assert changed(one, other) == {name for name, value in one.items() if value.abs().sum()}  # B is zero


def test_its_layers_are_all_that_is_added(tools, unet):
    added = {name: value for name, value in unet.named_parameters() if "lora_" in name}
    attentions = [name for name in tools.diffusion.unet.state_dict() if name.endswith(("to_k.weight", "to_out.0.weight"))]
    assert len(added) == 4 * len(attentions)  # A and B of query, key, value and output
    assert {id(value) for value in added.values()} == {id(value) for value in lora_layers(unet).parameters()}
    assert {min(value.shape) for value in added.values()} == {3}


def test_merged_it_predicts_the_same_without_layers_of_its_own(tools, unet):
    wanted = predict(unet, tools)
    assert (wanted - predict(tools.diffusion.unet, tools)).abs().max() > 1e-2
    merge_lora(unet)
    assert unet.state_dict().keys() == tools.diffusion.unet.state_dict().keys()
    torch.testing.assert_close(predict(unet, tools), wanted, rtol=1e-4, atol=1e-5)


def test_saved_weights_are_those_of_the_layers(unet, tmp_path):
    save_lora(unet, tmp_path / "made")
    (path,) = (tmp_path / "made").iterdir()
    assert path.name == LORA_FILE
    stored = sorted(load_file(path).values(), key=lambda value: (value.shape, value.sum().item()))
    wanted = sorted(lora_layers(unet).parameters(), key=lambda value: (value.shape, value.sum().item()))
    assert all(torch.equal(one, other) for one, other in zip(stored, wanted, strict=True))
