"""Deciding about pairs: which one is next, what is written, and what an undo restores."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.common.text import one_line
from stages.pairing.decisions import Decision, Mended, PairId, Verdict, append_decision, latest_decisions, read_decisions
from stages.pairing.scores import MEASURED, score_named
from stages.pairing.training_set import PairRow
from stages.review.pairs import Pairs

Describe = Callable[[str, str], Mended]
"""(caption, prompt) → the mended prompt with what it changes; raises InputError if that cannot be said."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """A decision that can be undone."""

    place: int
    before: Decision | None  # what counted until then


class Reviewing:
    """The pairs with all decisions about them; one for all browsers."""

    def __init__(self, pairs: Pairs, file: Path, *, reviewer: str, scored_by: str, describe: Describe) -> None:
        self.pairs = pairs
        self._file, self._reviewer, self._scored_by, self._describe = file, one_line(reviewer), scored_by, describe
        self._pairs = {place: pair for pair, place in pairs.find(read_decisions(file))}
        latest = latest_decisions(file)
        self._decisions = {place: latest[pair] for place, pair in self._pairs.items() if pair in latest}
        self._orders: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}

    def rank(self, score: str, place: int) -> int:
        """Return how many pairs come before one, worst first by a score."""
        return int(self._order(score)[1][place])

    def neighbour(self, score: str, place: int, step: int) -> int:
        """Return the pair ``step`` places behind one in the order of a score; the ends stop it."""
        order, rank = self._order(score)
        return int(order[min(max(rank[place] + step, 0), len(order) - 1)])

    def next_undecided(self, score: str, place: int | None = None) -> int:
        """Return the first pair without a decision behind ``place``, going round; the place itself if there is none."""
        order, rank = self._order(score)
        start = 0 if place is None else int(rank[place]) + 1
        rest = (int(order[number % len(order)]) for number in range(start, start + len(order)))
        return next((each for each in rest if each not in self._decisions), int(order[0]) if place is None else place)

    def decision(self, place: int) -> Decision | None:
        """Return what counts for a pair, if anything was decided."""
        return self._decisions.get(place)

    def counts(self) -> Counter[str]:
        """Return how many pairs have each decision."""
        return Counter(each.decision.value for each in list(self._decisions.values()))  # another browser may add some

    def decide(self, place: int, verdict: Verdict, *, prompt: str = "", remark: str = "") -> Done | None:
        """Write a decision about a pair, and return how to undo it; None if it is what counts already.

        The prompt matters for Verdict.MEND only.

        Raises:
            InputError: it cannot be said what the prompt changes, or the file is damaged.
        """
        row, before = self.pairs.row(place), self._decisions.get(place)
        mended = self._describe(row.caption, one_line(prompt)) if verdict is Verdict.MEND else None
        remark = one_line(remark)[:500]
        if before is not None and (before.decision, before.mended, before.remark) == (verdict, mended, remark):
            return None
        self._write(place, row, verdict, mended, remark)
        return Done(place=place, before=before)

    def undo(self, done: Done) -> None:
        """Write what counted before a decision, or that nothing did.

        Raises:
            InputError: the file is damaged.
        """
        row, before = self.pairs.row(done.place), done.before
        if before is None:
            self._write(done.place, row, Verdict.UNDECIDED, None, "")
        else:
            self._write(done.place, row, before.decision, before.mended, before.remark)

    def prompt(self, place: int) -> str:
        """Return the prompt of a pair, mended if it was."""
        decision = self._decisions.get(place)
        return self.pairs.row(place).edit_prompt if decision is None or decision.mended is None else decision.mended.edit_prompt

    def _write(self, place: int, row: PairRow, verdict: Verdict, mended: Mended | None, remark: str) -> None:
        now, before = datetime.now(UTC), self._decisions.get(place)
        if before is not None:  # the latest one counts, even if another reviewer's clock is ahead
            now = max(now, before.time + timedelta(microseconds=1))
        pair = self._pairs.setdefault(place, PairId(row.source_pixels, row.target_pixels, row.edit_prompt))
        decision = Decision(
            key=row.key,
            target_key=row.target_key,
            prompt=pair.prompt,
            decision=verdict,
            mended=mended,
            remark=remark,
            reviewer=self._reviewer,
            time=now,
            scores={name: round(float(self.pairs.measured[name][place]), 4) for name in MEASURED},
            scored_by=self._scored_by,
            source=pair.source,
            target=pair.target,
        )
        append_decision(self._file, decision)
        if verdict is Verdict.UNDECIDED:
            self._decisions.pop(place, None)
        else:
            self._decisions[place] = decision

    def _order(self, score: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the places, worst first, and the rank of each place."""
        if score not in self._orders:
            order = self.pairs.worst_first(score_named(score))
            rank = np.empty_like(order)
            rank[order] = np.arange(len(order))
            self._orders[score] = order, rank
        return self._orders[score]
