"""Batches of the training set, read and decoded by processes beside the training, in the order of the draws."""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice

import torch
from torch.utils.data import DataLoader

from stages.core.errors import InputError
from stages.core.params import Train
from stages.models.tensors import device
from stages.training.dataset import Batch, TrainingSet, make_batch
from stages.training.order import draw_order

NumberedBatch = tuple[list[int], Batch]
"""The numbers of the draws, and their samples."""


def load_batches(data: TrainingSet, config: Train, first: int, *, rank: int, world: int) -> Iterator[NumberedBatch]:
    """Yield one process's batches, from draw ``first`` to the last step; draw k is the same sample in every run.

    Args:
        data: the encoded training set.
        config: the section ``train``.
        first: the number of the first draw of all processes together.
        rank: the number of this process.
        world: the number of processes, each of which takes its batch out of ``world`` batches in a row.

    Raises:
        InputError: a picture or an encoding cannot be read.
    """
    size = config.batch
    order = draw_order(len(data), partial(data.ranks, config.seed), first)
    starts = range(first + rank * size, config.steps * config.accumulation * size * world, size * world)

    def draws() -> Iterator[list[int]]:
        for _ in starts:
            yield list(islice(order, size * world))[rank * size : (rank + 1) * size]

    try:
        for start, columns in zip(starts, _read_ahead(data, draws(), config.loader_workers), strict=True):
            yield list(range(start, start + size)), make_batch(columns, device())
    except InputError as error:  # from another process, torch returns it with a traceback before its message
        raise InputError(str(error).strip().rpartition("InputError: ")[2]) from error


def _read_ahead(data: TrainingSet, draws: Iterable[list[int]], workers: int) -> Iterable[dict[str, torch.Tensor]]:
    """Return the samples of every draw, in order, read by ``workers`` processes; 0 reads them in this process."""
    return DataLoader(
        data,
        batch_size=None,  # a draw is a batch already
        sampler=draws,
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,  # a forkserver would keep them alive when this process is killed
        pin_memory=device().type == "cuda",
        generator=torch.Generator(),  # torch seeds the processes from it; the random state of this process stays as it is
    )
