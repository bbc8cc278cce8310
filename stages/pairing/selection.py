"""Which masked pairs become the training set or the held-out pairs: those of one split with usable masks."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
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
        rows = np.flatnonzero(table["split"].to_numpy() == self.split).tolist()
        dropped = Counter[str]()
        reasons = objections(table, self.min_area, self.max_area)
        dropped.update(reason for row in rows if (reason := reasons[row]))
        kept = [row for row in rows if not reasons[row]]
        note = write_pairs_table(files.output, table.take(pa.array(kept, pa.int64())))
        advance(task.samples)
        return ShardResult(done=len(kept), dropped=dropped, notes=[note])


def objections(table: pa.Table, least: float, most: float) -> list[str]:
    """Return for each pair of a table why its masks are unusable; of several reasons the first; empty if they are usable.

    Args:
        table: it has the areas of both masks.
        least: see :func:`unusable`.
        most: see :func:`unusable`.
    """
    reasons = [""] * len(table)
    for side in ("source", "target"):
        small, large = unusable(table[f"{side}_mask_area"].to_numpy(), least, most)
        for found, words in ((small, "empty or below segment.min_area"), (large, "full or above segment.max_area")):
            for row in np.flatnonzero(found):
                reasons[row] = reasons[row] or f"{side} mask {words}"
    return reasons


def unusable(areas: NDArray[np.float64], least: float, most: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which masks are empty or too small, and which are full or too large.

    Args:
        areas: shares of the picture, (n,).
        least: the smallest area that is usable; an empty mask never is.
        most: the largest area that is usable; a full mask never is.
    """
    return (areas == 0) | (areas < least), (areas == 1) | (areas > most)
