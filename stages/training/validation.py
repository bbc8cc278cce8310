"""The loss on held-out pairs, which no training sees: measured at every checkpoint, logged, and decisive for nothing."""

from typing import Any

import torch
from torch import Tensor

from stages.core.params import Train
from stages.models.tensors import device
from stages.training.dataset import TrainingSet, make_batch
from stages.training.method import Method
from stages.training.workplace import StepLog


@torch.no_grad()
def held_out_losses(method: Method[Any], held_out: TrainingSet, config: Train) -> StepLog:
    """Return the mean of every term over the held-out pairs, by name, with the U-Net's weights as they are.

    The random draws of a pair are the same in every call, so that two checkpoints differ by their weights alone.

    Args:
        method: the U-Net and its losses.
        held_out: the encoded pairs.
        config: the section ``train``.
    """
    sums: dict[str, Tensor] = {}
    for start in range(0, len(held_out), config.batch):
        numbers = list(range(start, min(start + config.batch, len(held_out))))
        batch = make_batch(held_out[numbers], device())
        terms = method.losses(method.unet, batch, method.draw(batch.z1.shape[1:], config.seed, numbers))
        for name, values in terms.items():
            total = values.double().sum()
            sums[name] = sums[name] + total if name in sums else total
    return {name: float(total) / len(held_out) for name, total in sums.items()}
