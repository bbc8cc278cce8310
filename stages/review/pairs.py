"""The pairs to review: those of the training set and those held out, in the order of their shards."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stages.common.parquet import read_columns
from stages.core.errors import InputError
from stages.core.paths import HELD_OUT, TRAINING_SET
from stages.core.shards import list_shards
from stages.pairing.decisions import Decision, PairId
from stages.pairing.scores import MEASURED, Score
from stages.pairing.training_set import ROW_COLUMNS, SUFFIX, PairRow, read_pairs

IDENTITY = ("source_pixels", "target_pixels", "edit_prompt")
TABLES = 8  # kept in memory; pairs in the order of a score come from any of them


class Pairs:
    """All pairs by their place; only their scores are kept in memory, a pair itself is read when it is asked for.

    Raises:
        InputError: there is no pair, or a table is damaged or of older code.
    """

    def __init__(self, folders: Sequence[Path] = (TRAINING_SET, HELD_OUT)) -> None:
        self._shards = [path for folder in folders for path in list_shards(folder, SUFFIX)]
        self._versions = [_version(path) for path in self._shards]
        tables = [read_columns(path, {name: ROW_COLUMNS[name] for name in MEASURED}) for path in self._shards]
        self._ends = np.cumsum([table.num_rows for table in tables])
        self.measured = {name: np.concatenate([table[name].to_numpy() for table in tables]) for name in MEASURED}
        if not len(self):
            raise InputError(f"{' and '.join(map(str, folders))}: hold no pair; run the stage segment")
        self._read = lru_cache(maxsize=TABLES)(read_pairs)
        self.row(0)  # needs every column, the order only some: tables of older code are reported before a page opens

    def __len__(self) -> int:
        """Return the number of pairs."""
        return int(self._ends[-1])

    def worst_first(self, score: Score) -> NDArray[np.int64]:
        """Return the places of all pairs, those with the worst score first, (n,)."""
        return np.argsort(score.goodness(self.measured), kind="stable")

    def row(self, place: int) -> PairRow:
        """Return the pair at a place.

        Raises:
            InputError: the tables have changed since they were opened.
        """
        shard = int(np.searchsorted(self._ends, place, side="right"))
        path = self._shards[shard]
        if _version(path) != self._versions[shard]:
            raise InputError(f"{path}: has changed since this page was started; start it again")
        rows = self._read(path)
        return rows[place - int(self._ends[shard])]  # counted from the end

    def split(self, place: int) -> str:
        """Return the name of the folder that a pair stands in."""
        return self._shards[int(np.searchsorted(self._ends, place, side="right"))].parent.name

    def find(self, decisions: Sequence[Decision]) -> Iterator[tuple[PairId, int]]:
        """Yield the pairs that decisions are about, with their places; a mended pair may have its old or its new prompt."""
        wanted = {each.pair: each.pair for each in decisions}
        for each in decisions:
            if each.mended is not None:
                wanted[PairId(each.source, each.target, each.mended.edit_prompt)] = each.pair
        sources = list({pair.source for pair in wanted})
        for path, end in zip(self._shards if wanted else (), self._ends.tolist(), strict=False):
            table = read_columns(path, dict.fromkeys(IDENTITY, "string"))
            for row in np.flatnonzero(pc.is_in(table["source_pixels"], pa.array(sources, "string")).to_numpy()).tolist():
                pair = wanted.get(PairId(*(table[name][row].as_py() for name in IDENTITY)))
                if pair is not None:
                    yield pair, end - table.num_rows + row


def _version(path: Path) -> tuple[int, int, int]:
    try:
        facts = path.stat()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; run the stage segment") from error
    return facts.st_mtime_ns, facts.st_size, facts.st_ino
