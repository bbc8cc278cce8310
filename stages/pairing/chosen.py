"""The pairs of a shard of edits once they are chosen, and their tables.

They wait in a file, because all of them could fill the memory, and workers write their tables.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from stages.common.parquet import read_columns, write_columns
from stages.core.files import value_digest
from stages.core.shards import Advance, ShardFiles, ShardResult, ShardTask, Work
from stages.pairing.columns import EDITS_TABLE, PAIR_COLUMNS, SCORES
from stages.pairing.decisions import Mended
from stages.pairing.embeddings import Pool
from stages.pairing.neighbours import SUFFIX, read_candidates

Numbers = NDArray[np.int64]  # (p,)


class PairRows(NamedTuple):
    """The p pairs of a shard of edits."""

    edits: Numbers  # rows of the table of edits
    picks: Numbers  # the targets, by their rows of the candidates
    sources: Numbers  # rows of all images
    targets: Numbers


@dataclass(frozen=True, kw_only=True)
class ChosenPairs:
    """The pairs of a shard of edits, and why its other edits have none."""

    shard: str
    file: Path  # has the PairRows
    dropped: Counter[str]  # reason → edits
    mended: Mapping[int, Mended]  # the pairs with another prompt, by their place among the p

    @classmethod
    def keep(cls, file: Path, shard: str, rows: PairRows, dropped: Counter[str], mended: Mapping[int, Mended]) -> Self:
        """Write the rows to ``file``."""
        file.write_bytes(np.stack(rows).tobytes())
        return cls(shard=shard, file=file, dropped=dropped, mended=mended)

    def rows(self) -> PairRows:
        """Read the pairs."""
        return PairRows(*np.fromfile(self.file, np.int64).reshape(len(PairRows._fields), -1))

    def digest(self, images: Pool, held_out: NDArray[np.bool_]) -> str:
        """Return a digest of everything that decides the pairs besides the edits and their candidates.

        Args:
            images: all images.
            held_out: for each image whether its pairs are held out.
        """
        rows = self.rows()
        chosen = [value_digest(part.tolist()) for part in (rows.edits, rows.picks, held_out[rows.sources])]
        shown = [images.identity(part) for part in (rows.sources, rows.targets)]
        mended = {str(place): texts.model_dump() for place, texts in self.mended.items()}
        return value_digest([chosen, shown, dict(self.dropped), mended])

    def columns(self, edits: Path, candidates: Path, images: Pool, held_out: NDArray[np.bool_]) -> dict[str, list[Any]]:
        """Return the pairs by the columns of the table of pairs.

        Args:
            edits: the table of the shard's edits.
            candidates: the file of their candidates.
            images: all images.
            held_out: for each image whether its pairs are held out.
        """
        rows = self.rows()
        table = read_columns(edits, EDITS_TABLE).take(rows.edits)
        columns = {name: table[name].to_pylist() for name in EDITS_TABLE}
        for place, mended in self.mended.items():
            for name, text in mended.model_dump().items():
                columns[name][place] = text
        columns["split"] = ["heldout" if is_aside else "training" for is_aside in held_out[rows.sources]]
        scores = read_candidates(candidates).scores[rows.picks]
        return columns | dict(zip(SCORES, scores.T.tolist(), strict=True)) | _pictures(rows, images)


@dataclass(frozen=True, kw_only=True)
class PairTableWorker:
    """Writes tables of pairs; ``task.source`` lists the :class:`ChosenPairs` of one."""

    images: Pool  # all
    held_out: Path  # a NumPy file: for each image whether its pairs are held out
    edits: Path  # folders
    candidates: Path

    def load(self) -> Work:
        """Return the work, with the file of what is held out mapped."""
        return partial(self._write, np.load(self.held_out, mmap_mode="r"))

    def _write(self, held_out: NDArray[np.bool_], task: ShardTask, files: ShardFiles, _: Advance) -> ShardResult:
        result = ShardResult()
        columns: dict[str, list[Any]] = {name: [] for name in PAIR_COLUMNS}
        for chosen in task.source:
            edits, candidates = self.edits / f"{chosen.shard}.parquet", self.candidates / f"{chosen.shard}{SUFFIX}"
            for name, values in chosen.columns(edits, candidates, self.images, held_out).items():
                columns[name] += values
            result.dropped += chosen.dropped
        result.done = len(columns["key"])
        write_columns(files.output, columns, PAIR_COLUMNS)
        return result


def _pictures(rows: PairRows, images: Pool) -> dict[str, list[Any]]:
    """Return what the corpus holds of the pictures of some pairs, by columns."""
    facts = images.facts(np.concatenate([rows.sources, rows.targets]))
    sources, targets = facts[: len(rows.sources)], facts[len(rows.sources) :]
    return {
        "target_key": [each.key for each in targets],
        "target_alt_text": [each.alt_text for each in targets],
        "source_pixels": [each.pixels for each in sources],
        "target_pixels": [each.pixels for each in targets],
        "width": [each.width for each in sources],
        "height": [each.height for each in sources],
        **{f"source_{name}": [getattr(each, name) for each in sources] for name in ("offset", "length")},
        **{f"target_{name}": [getattr(each, name) for each in targets] for name in ("offset", "length")},
    }
