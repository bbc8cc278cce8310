"""Which masked pairs become the training set or the held-out pairs: those of one split with usable masks."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stages.common.parquet import read_columns
from stages.core.shards import Advance, ShardFiles, ShardResult, ShardTask, Work
from stages.pairing.masking import MASKED_COLUMNS
from stages.pairing.training_set import write_pairs_table

Split = Literal["training", "heldout"]


@dataclass(frozen=True, kw_only=True)
class SelectionWorker:
    """Selects the pairs of one split."""

    split: Split
    min_area: float  # of a mask, a share of the picture
    max_area: float

    def load(self) -> Work:
        """Return the work; it needs no model."""
        return self._select

    def _select(self, task: ShardTask, files: ShardFiles, advance: Advance) -> ShardResult:
        """Write the table of usable pairs of ``task.inputs[0]``, a table of masked pairs, and count the others."""
        table = read_columns(task.inputs[0], MASKED_COLUMNS)
        rows = np.flatnonzero(table["split"].to_numpy() == self.split)
        dropped = Counter[str]()
        for side in ("source", "target"):
            areas = table[f"{side}_mask_area"].to_numpy()[rows]
            small, large = unusable(areas, self.min_area, self.max_area)
            dropped[f"{side} mask empty or below segment.min_area"] += int(small.sum())
            dropped[f"{side} mask full or above segment.max_area"] += int(large.sum())
            rows = rows[~(small | large)]
        note = write_pairs_table(files.output, table.take(rows))
        advance(task.samples)
        return ShardResult(done=len(rows), dropped=+dropped, notes=[note])


def unusable(areas: NDArray[np.float64], least: float, most: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which masks are empty or too small, and which are full or too large.

    Args:
        areas: shares of the picture, (n,).
        least: the smallest area that is usable; an empty mask never is.
        most: the largest area that is usable; a full mask never is.
    """
    return (areas == 0) | (areas < least), (areas == 1) | (areas > most)
