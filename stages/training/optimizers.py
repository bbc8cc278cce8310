"""The optimisers of a training: AdamW (Loshchilov and Hutter 2019), with moments of 32 or of 8 bits (Dettmers et al. 2022)."""

from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from stages.core.errors import InputError
from stages.core.params import Train

if TYPE_CHECKING:  # what is imported slowly waits until there is something to train
    from torch import nn
    from torch.optim import Optimizer

EXTRA = "bitsandbytes"  # has the optimiser of 8 bits


def check_optimizer(config: Train) -> None:
    """Raise InputError if the library of the optimiser that the section ``train`` names is not installed."""
    if config.optimizer == "adamw8bit" and find_spec(EXTRA) is None:
        raise InputError(f"train.optimizer = {config.optimizer!r}: needs {EXTRA}: pip install '.[{EXTRA}]'")


def make_optimizer(parameters: "Iterable[nn.Parameter]", config: Train, *, on_gpu: bool) -> "Optimizer":
    """Return the optimiser that the section ``train`` names.

    Args:
        parameters: what it updates.
        config: the section ``train``.
        on_gpu: whether they lie on a GPU. AdamW is fused there, because else a step takes as much memory again as they do.
    """
    if config.optimizer == "adamw8bit":
        from bitsandbytes.optim import AdamW8bit

        optimizer: Optimizer = AdamW8bit(parameters, config.learning_rate, weight_decay=config.weight_decay)
        return optimizer
    from torch.optim import AdamW

    return AdamW(parameters, config.learning_rate, weight_decay=config.weight_decay, fused=on_gpu)
