"""The moving average: bit for bit that of the formula, tensor by tensor."""

import pytest
import torch
from torch import nn

from stages.training.moving_average import decay_at, moving_average


def weights(step: int) -> nn.Sequential:
    """Return a model whose weights depend on the step, of sizes that fill vectors and that do not."""
    torch.manual_seed(step)
    return nn.Sequential(nn.Linear(33, 17), nn.Conv2d(3, 5, 3), nn.Linear(1, 1))


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.5, 0.99, 0.9999])
def test_average_has_the_bits_of_the_formula(decay):
    """torch.lerp(current, average, decay) of every tensor by itself, decay growing with the steps."""
    average = moving_average(weights(0), decay)
    wanted = list(weights(0).parameters())
    for step in range(200):
        current = weights(step)
        average.update_parameters(current)
        rate = min(decay, (1 + step) / (10 + step))
        parts = zip(wanted, current.parameters(), strict=True)
        wanted = [now.detach() if step == 0 else torch.lerp(now.detach(), before, rate) for before, now in parts]
    assert all(torch.equal(found, each) for found, each in zip(average.module.parameters(), wanted, strict=True))


def test_decay_grows_with_the_steps():
    assert [decay_at(step, 0.5) for step in (1, 2, 8, 100)] == pytest.approx([2 / 11, 3 / 12, 0.5, 0.5])
