"""A network of a training, compiled where the section ``train`` asks for it, and the compiler that this needs."""

import os
from shutil import which
from typing import TYPE_CHECKING, Any

from stages.core.errors import InputError
from stages.core.params import Train

if TYPE_CHECKING:  # what is imported slowly waits until there is something to train
    from torch import nn

VARIABLE = "CXX"  # names another compiler to torch
OPTIONS: dict[str, Any] = {"layout_optimization": False}
"""Of torch.compile. With optimized layouts, torch 2.14.1 gives wrong gradients, and no error, where the U-Net enlarges what a
convolution made: by a factor of over 1,000, measured on processors (PyTorch's issue 185509 is of that kind)."""


def check_compiler(config: Train) -> None:
    """Raise InputError if the section ``train`` asks for a compiled network where there is no compiler of C++."""
    compiler = os.environ.get(VARIABLE) or "g++"
    if config.compile and which(compiler.partition(" ")[0]) is None:
        raise InputError(f"train.compile = true: needs a compiler of C++; {compiler!r} is not here, {VARIABLE} names another")


def compiled(network: "nn.Module", config: Train) -> "nn.Module":
    """Return a network or, where the section ``train`` asks for it, one with its weights that is compiled when it is used."""
    import torch

    made: Any = torch.compile(network, options=OPTIONS) if config.compile else network  # torch calls it a function
    return made
