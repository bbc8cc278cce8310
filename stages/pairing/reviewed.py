"""What reviewers' decisions change among the candidates of a shard of edits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.common.parquet import read_table
from stages.core.errors import InputError
from stages.pairing.columns import EDITS_TABLE
from stages.pairing.decisions import Decision, Mended, PairId, Verdict
from stages.pairing.embeddings import Pool
from stages.pairing.neighbours import Candidates


@dataclass(frozen=True, kw_only=True)
class ShardReview:
    """Decisions about the candidates of a shard of edits, by their rows of the candidates."""

    dropped: frozenset[int] = frozenset()
    mended: Mapping[int, Mended] = field(default_factory=dict)


class Review:
    """Finds the candidates that decisions are about, shard by shard."""

    def __init__(self, decisions: Mapping[PairId, Decision]) -> None:
        self._unseen = dict(decisions)
        self._edits: dict[tuple[str, str], dict[str, Decision]] = {}  # source and prompt → target → decision
        for pair, decision in decisions.items():
            self._edits.setdefault((pair.source, pair.prompt), {})[pair.target] = decision
        self._sources = {source for source, _ in self._edits}

    def of_shard(
        self, edits: Path, candidates: Candidates, sources: NDArray[np.int64], first_row: int, images: Pool
    ) -> ShardReview:
        """Return what is decided about the candidates of the next shard.

        Args:
            edits: the table of the shard's m edits; it is read only if one of their sources was reviewed.
            candidates: the candidates of these edits.
            sources: the row of each edit's source among all images, (m,).
            first_row: the row of the pool's first image among all images.
            images: all images.

        Raises:
            InputError: a mended prompt does not belong to the caption that the picture has now.
        """
        digests = images.digests(sources) if self._edits else []
        reviewed = [edit for edit, digest in enumerate(digests) if digest in self._sources]
        rows = read_table(edits, EDITS_TABLE) if reviewed else []
        dropped: set[int] = set()
        mended: dict[int, Mended] = {}
        for edit in reviewed:
            decisions = self._edits.get((digests[edit], rows[edit]["edit_prompt"]))
            if decisions is None:
                continue
            start, end = int(candidates.ends[edit - 1]) if edit else 0, int(candidates.ends[edit])
            targets = images.digests(first_row + candidates.targets[start:end])
            for candidate, target in enumerate(targets, start):
                decision = decisions.get(target)
                if decision is None:
                    continue
                self._unseen.pop(decision.pair, None)
                if decision.decision is Verdict.DROP:
                    dropped.add(candidate)
                elif decision.mended is not None:
                    _check_caption(decision, decision.mended, rows[edit]["caption"])
                    mended[candidate] = decision.mended
        return ShardReview(dropped=frozenset(dropped), mended=mended)

    def unseen(self) -> list[Decision]:
        """Return the decisions that none of the candidates so far was the subject of."""
        return list(self._unseen.values())


def _check_caption(decision: Decision, mended: Mended, caption: str) -> None:
    if mended.source_term.lower() not in caption.lower():
        raise InputError(
            f"the mended prompt {mended.edit_prompt!r} of the pair {decision.key} → {decision.target_key} changes"
            f" {mended.source_term!r}, which its caption {caption!r} does not say; review the pair again"
        )
