"""The bytes that tensors take: those that torch's own tracker counts, with numbers and without."""

import copy

import pytest
import torch
from torch import nn
from torch.distributed._tools.mem_tracker import MemTracker

from stages.core.params import Params
from stages.studies.allocations import peak_of, without_numbers
from stages.training.moving_average import moving_average
from stages.training.optimizers import make_optimizer
from tests.support.composed import composed


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.SiLU(), nn.Conv2d(16, 8, 3), nn.GroupNorm(2, 8))


def step(each: nn.Module) -> None:
    each(torch.zeros(2, 3, 40, 40)).square().mean().backward()


def test_peak_is_that_of_torch_and_needs_no_numbers():
    real = network()
    tracker = MemTracker()
    tracker.track_external(real)
    with tracker:
        step(real)
    wanted = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    with without_numbers():
        fake = network()
    assert peak_of(lambda: step(fake), fake) == wanted > 4 * 2 * 16 * 38 * 38
    real.zero_grad()
    assert peak_of(lambda: step(real), real) == wanted


def test_what_is_held_counts_and_what_is_freed_does_not():
    held = nn.Linear(1000, 1000, bias=False)

    def work() -> None:
        for _ in range(3):
            held.weight.detach().clone()
        held.weight.detach().view(-1)

    assert peak_of(lambda: None, held, held.weight) == 4_000_000
    assert peak_of(work, held) == 8_000_000


@pytest.mark.parametrize(("layer", "shape"), [(nn.GroupNorm(2, 8), (1, 8, 50, 50)), (nn.LayerNorm(50), (8, 50, 50))])
def test_norms_under_autocast_are_in_fp32_as_on_a_gpu(layer, shape):
    given = torch.zeros(shape, dtype=torch.float16)
    seen = []

    def work() -> None:
        with torch.autocast("cpu", torch.float16):
            seen.append(layer(given))

    assert peak_of(work, given) >= (2 + 4 + 4) * given.numel()  # what is given, its cast, and the result
    assert seen[0].dtype is torch.float32


def test_an_update_of_the_moving_average_takes_no_memory():
    model = nn.Linear(1000, 1000)
    average = moving_average(model, 0.9)
    average.update_parameters(model)  # copies
    other = copy.deepcopy(model)
    held = 2 * 4 * 1_001_000
    assert held <= peak_of(lambda: average.update_parameters(other), other, average) < held + 1000


def test_a_fused_step_of_adamw_takes_its_moments_alone():
    config = Params.model_validate(composed("preset=paper", "source=folder")).train
    model = nn.Linear(1000, 1000)
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer = make_optimizer(model.parameters(), config, on_gpu=True)
    whole = 4 * 4 * 1_001_000  # weights, gradients, and both moments
    assert whole <= peak_of(optimizer.step, model, *(weight.grad for weight in model.parameters())) < whole + 1000
