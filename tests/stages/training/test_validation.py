"""The loss on held-out pairs: the mean of what each pair gives alone, the same in every call."""

import pytest
import torch

from stages.training.validation import held_out_losses
from tests.support.training import make_method, params_for, read


@pytest.mark.parametrize("batch", [2, 5])
def test_losses_are_the_mean_over_all_pairs(tools, batch):
    config = params_for(tools.folder, batch=batch, unconditional=0.5).train
    method = make_method(tools, config)
    found = held_out_losses(method, tools.data, config)
    alone = []
    for number in range(len(tools.data)):
        one = read(tools.data, [number])
        with torch.no_grad():
            alone.append(method.losses(method.unet, one, method.draw(one.z1.shape[1:], config.seed, [number])))
    assert found.keys() == alone[0].keys()
    for name, value in found.items():
        assert value == pytest.approx(sum(terms[name].item() for terms in alone) / 5, rel=1e-4, abs=1e-7), name
    assert found["weighted/unconditional"] > 0
    assert found["weighted/noise"] > 0


def test_two_calls_differ_by_the_weights_alone(tools):
    config = params_for(tools.folder).train
    method = make_method(tools, config)
    first = held_out_losses(method, tools.data, config)
    torch.manual_seed(5)
    assert held_out_losses(method, tools.data, config) == first
    with torch.no_grad():
        method.unet.conv_in.weight += 0.1
    assert held_out_losses(method, tools.data, config)["total"] != first["total"]
