"""Learning rates by hand, and against a schedule of diffusers that is stepped as its own training scripts do."""

import math

import pytest
import torch
from diffusers.optimization import get_scheduler

from stages.training.schedule import learning_rates
from tests.support.training import params_for

# After a warm-up of two steps out of six; what falls reaches zero one step after the last.
SHARES = {
    "constant": [0.5, 1, 1, 1, 1, 1],
    "linear": [0.5, 1, 0.8, 0.6, 0.4, 0.2],
    "cosine": [0.5, 1, *((1 + math.cos(math.pi * k / 5)) / 2 for k in (1, 2, 3, 4))],
}


def rates(tmp_path, schedule: str, **changes) -> list[float]:
    config = params_for(tmp_path, steps=6, learning_rate=0.003, learning_rate_schedule=schedule, **changes).train
    return [learning_rates(config)(step) for step in range(6)]


@pytest.mark.parametrize("schedule", SHARES)
def test_rates_warm_up_and_fall_as_asked(tmp_path, schedule):
    assert rates(tmp_path, schedule, warm_up=2) == pytest.approx([0.003 * share for share in SHARES[schedule]])


@pytest.mark.parametrize("warm_up", [0, 4])
@pytest.mark.parametrize(("schedule", "name"), [("constant", "constant_with_warmup"), ("linear",) * 2, ("cosine",) * 2])
def test_rates_are_those_of_a_stepped_scheduler(tmp_path, schedule, name, warm_up):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.003)
    scheduler = get_scheduler(name, optimizer, num_warmup_steps=warm_up, num_training_steps=7)
    wanted = []
    for _ in range(6):
        optimizer.step()
        scheduler.step()
        wanted += scheduler.get_last_lr()
    assert rates(tmp_path, schedule, warm_up=warm_up) == wanted


@pytest.mark.parametrize("schedule", SHARES)
def test_a_long_warm_up_rises_to_the_end(tmp_path, schedule):
    assert rates(tmp_path, schedule, warm_up=12) == pytest.approx([0.003 * (step + 1) / 12 for step in range(6)])
