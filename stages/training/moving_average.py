"""The exponential moving average of the weights, which a training saves as its model."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def decay_at(step: int, decay: float) -> float:
    """Return the decay of an update: it grows with the steps, from 2/11 at step 1 up to ``decay``.

    Args:
        step: the number of updates so far; at least 1, because the first only copies the weights.
        decay: the decay in the long run, in [0, 1).
    """
    return min(decay, (1 + step) / (10 + step))


def moving_average(model: nn.Module, decay: float, place: torch.device | None = None) -> AveragedModel:
    """Return an average of a model's parameters, updated by its method ``update_parameters(model)``.

    An update is average ← lerp(current, average, decay). It takes no memory where both lie on one device.

    Args:
        model: the model.
        decay: the decay in the long run, in [0, 1).
        place: where the average lies; None: where the model does.
    """

    def update(averages: Sequence[Tensor], currents: Sequence[Tensor], _: Tensor | int) -> None:
        # The count is read from the CPU; the one that is passed in lies on the device, and reading it would wait for that.
        rate = decay_at(int(average.n_averaged), decay)
        for past, current in zip(averages, currents, strict=True):
            # Not past.lerp_(current, 1 - rate), which rounds differently: the same commit's weights would no longer be those
            # of the models that are registered.
            torch.lerp(current, past, rate, out=past)

    average = AveragedModel(model, place, multi_avg_fn=update)
    return average
