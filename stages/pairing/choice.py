"""One target for every edit: a linear pass over the candidates in the order of the corpus, because targets may wear out."""

from array import array
from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.pairing.neighbours import OBJECTIONS, Candidates

USED = "target used too often"
ALONE = "no other image"
REVIEWED = "pair dropped in review"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The pairs of a shard of edits."""

    edits: NDArray[np.int64]  # (p,): the edits that got a target, by their rows of the table of edits
    picks: NDArray[np.int64]  # (p,): the target of each, by its row of the candidates
    dropped: Counter[str]  # reason → edits


class Chooser:
    """Chooses for each edit its first candidate that has been a target fewer than ``max_uses`` times."""

    def __init__(self, images: int, max_uses: int) -> None:
        self._uses = array("L", bytes(images * array("L").itemsize))
        self._max_uses = max_uses

    def choose(self, candidates: Candidates, first_row: int, refused: AbstractSet[int] = frozenset()) -> Choice:
        """Return the choice for the next shard of edits.

        Args:
            candidates: the candidates of the shard's edits, best first.
            first_row: the row of the pool's first image among all images.
            refused: candidates that reviewers have dropped, by their rows.
        """
        uses, limit = self._uses, self._max_uses
        targets = (candidates.targets + first_row).tolist()
        edits, picks, dropped = array("q"), array("q"), Counter[str]()
        start = 0
        for edit, end in enumerate(candidates.ends.tolist()):
            for pick in range(start, end):
                if uses[targets[pick]] < limit and pick not in refused:
                    uses[targets[pick]] += 1
                    edits.append(edit)
                    picks.append(pick)
                    break
            else:
                is_reviewed = not refused.isdisjoint(range(start, end))
                dropped[REVIEWED if is_reviewed else reason_of(candidates.objections[edit].tolist(), end - start)] += 1
            start = end
        return Choice(edits=np.array(edits, np.int64), picks=np.array(picks, np.int64), dropped=dropped)


def reason_of(objections: Sequence[int], used: int) -> str:
    """Return the most frequent objection to an edit's neighbours, which explains best why the edit has no target.

    Args:
        objections: how many neighbours were refused for each of OBJECTIONS.
        used: how many were targets too often.
    """
    counts = dict(zip(OBJECTIONS, objections, strict=True)) | {USED: used}
    most = max(counts.values())
    return min(reason for reason, count in counts.items() if count == most) if most else ALONE
