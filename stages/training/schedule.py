"""The learning rate of every step: a warm-up, then one of diffusers' schedules."""

from collections.abc import Callable

import torch
from diffusers.optimization import get_scheduler
from torch import nn

from stages.core.params import Train

NAMES = {"constant": "constant_with_warmup"}  # diffusers' names, where ours are others


def learning_rates(config: Train) -> Callable[[int], float]:
    """Return what gives the learning rate of a step, by its number, 0 to ``config.steps`` - 1.

    A rate depends on its step's number alone, so a training that resumes needs no state for it. diffusers' schedules begin and
    may end with a rate of zero; no step here has one, because step k is their step k + 1 of ``config.steps`` + 1.

    Args:
        config: the section ``train``.
    """
    anything = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=1.0)  # a schedule wants an optimiser
    name = NAMES.get(config.learning_rate_schedule, config.learning_rate_schedule)
    schedule = get_scheduler(name, anything, num_warmup_steps=config.warm_up, num_training_steps=config.steps + 1)
    (share,) = schedule.lr_lambdas

    def rate_of(step: int) -> float:
        return config.learning_rate * float(share(step + 1))

    return rate_of
