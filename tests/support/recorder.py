"""A system that stands for one with a model."""

from collections.abc import Collection

import torch

from stages.comparison.edited import Edited
from stages.comparison.systems import System


class Recorder:
    """A system that paints its number, fails on some keys, and records the keys and masks of every batch."""

    def __init__(self, number: int, masks=None, failing: Collection[str] = ()) -> None:
        self.batches: list[list[str]] = []
        self.masks: list[torch.Tensor | None] = []

        def edit(samples, found, seed):
            assert seed == 0
            self.batches.append([sample.key for sample in samples])
            self.masks.append(found)
            failed = torch.tensor([sample.key in failing for sample in samples])
            return Edited(pictures=torch.full((len(samples), 3, 32, 32), number / 10), failed=failed)

        self.system = System(edit=edit, settings={"number": number}, masks=masks)
