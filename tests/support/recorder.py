"""A system that stands for one with a model."""

import torch

from stages.comparison.systems import System


class Recorder:
    """A system that paints its number, and records the keys and masks of every batch."""

    def __init__(self, number: int, masks=None) -> None:
        self.batches: list[list[str]] = []
        self.masks: list[torch.Tensor | None] = []

        def edit(samples, found, seed):
            assert seed == 0
            self.batches.append([sample.key for sample in samples])
            self.masks.append(found)
            return torch.full((len(samples), 3, 32, 32), number / 10)

        self.system = System(edit=edit, settings={"number": number}, masks=masks)
