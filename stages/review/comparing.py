"""Comparing two versions blind: which case comes next, who stands left, and what the answers add up to."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from PIL import Image
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from stages.common.json_lines import append_line, read_lines
from stages.common.seeds import derive_seed
from stages.common.text import one_line
from stages.corpus.samples import EditSample
from stages.tracking.preferences import QUESTIONS, Preference

Side = Literal["left", "right"]


class Choice(StrEnum):
    """An answer, with the sides resolved."""

    FIRST = "first"
    SECOND = "second"
    SAME = "same"
    UNDECIDED = "undecided"  # takes an earlier answer back


class Answer(BaseModel):
    """A line of the file of answers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    case: str  # key
    question: Literal["follows", "keeps"]
    choice: Choice
    left: Literal["first", "second"]  # who stood there
    tester: Annotated[str, Field(max_length=500)] = ""
    time: AwareDatetime


@dataclass(frozen=True)
class Turn:
    """A question about a case."""

    case: int
    question: str


class Comparing:
    """The edits of two versions and one tester's answers about them; nothing that it shows says which is which."""

    def __init__(
        self,
        cases: Sequence[EditSample],
        edits: tuple[Sequence[Image.Image], Sequence[Image.Image]],
        file: Path,
        *,
        tester: str,
        seed: int,
    ) -> None:
        """Read the answers so far.

        Args:
            cases: n.
            edits: the first version's and the second version's edits, n each.
            file: the answers of all testers.
            tester: whose answers are added.
            seed: draws sides and order, for each tester anew.

        Raises:
            InputError: the file is damaged.
        """
        self.cases = cases
        self._edits, self._file, self._tester, self._seed = edits, file, one_line(tester), seed
        order = sorted(range(len(cases)), key=lambda case: self._draw("order", case))
        self._turns = [Turn(case, question) for case in order for question in QUESTIONS]
        mine = {(each.case, each.question): each for each in latest_answers(file) if each.tester == self._tester}
        self._answers = {turn: mine[key] for turn in self._turns if (key := (cases[turn.case].key, turn.question)) in mine}

    def left(self, case: int) -> Literal["first", "second"]:
        """Return who stands on the left; the same one whenever this tester sees the case."""
        return "first" if random.Random(self._draw("side", case)).random() < 0.5 else "second"

    def pictures(self, case: int) -> tuple[Image.Image, Image.Image]:
        """Return the edits of a case, the left one first."""
        first, second = (each[case] for each in self._edits)
        return (first, second) if self.left(case) == "first" else (second, first)

    def next_turn(self) -> Turn | None:
        """Return the first question without an answer, or None."""
        return next((turn for turn in self._turns if turn not in self._answers), None)

    def number(self, turn: Turn) -> int:
        """Return the number that a page knows a question by."""
        return self._turns.index(turn)

    def unanswered(self, number: int | None) -> Turn | None:
        """Return the question with a number, or None if it has an answer or does not exist."""
        if number is None or not 0 <= number < len(self._turns):
            return None
        turn = self._turns[number]
        return None if turn in self._answers else turn

    def progress(self) -> tuple[int, int]:
        """Return how many questions are answered, and how many there are."""
        return len(self._answers), len(self._turns)

    def answer(self, turn: Turn, side: Side | None) -> None:
        """Write the answer to a question: a side, or None if there is no difference.

        Raises:
            InputError: the file is damaged.
        """
        left = self.left(turn.case)
        right = "second" if left == "first" else "first"
        self._write(turn, Choice.SAME if side is None else Choice(left if side == "left" else right))

    def undo(self, turn: Turn) -> None:
        """Write that a question has no answer.

        Raises:
            InputError: the file is damaged.
        """
        self._write(turn, Choice.UNDECIDED)

    def _write(self, turn: Turn, choice: Choice) -> None:
        facts = {"case": self.cases[turn.case].key, "question": turn.question, "left": self.left(turn.case)}
        answer = Answer.model_validate(facts | {"choice": choice, "tester": self._tester, "time": datetime.now(UTC)})
        append_line(self._file, answer)
        if choice is Choice.UNDECIDED:
            self._answers.pop(turn, None)
        else:
            self._answers[turn] = answer

    def _draw(self, purpose: str, case: int) -> int:
        return derive_seed(self._seed, "preference", purpose, self._tester, self.cases[case].key)


def latest_answers(file: Path) -> list[Answer]:
    """Return the answer that counts of each tester to each question that has one.

    Raises:
        InputError: the file is damaged.
    """
    lines = sorted(read_lines(file, Answer), key=lambda each: each.time)
    latest = {(each.tester, each.case, each.question): each for each in lines}
    return [each for each in latest.values() if each.choice is not Choice.UNDECIDED]


def count_preferences(file: Path) -> dict[str, Preference]:
    """Return what all testers prefer, by question, as seen from the first version.

    A case counts once, for the version that more of its testers prefer: answers about the same pictures resemble each other,
    and an interval over all of them would be too narrow. As many for one as for the other is no difference.

    Raises:
        InputError: the file is damaged.
    """
    leads: dict[str, Counter[str]] = {question: Counter() for question in QUESTIONS}  # by case: above 0, the first one leads
    for each in latest_answers(file):
        leads[each.question][each.case] += (each.choice is Choice.FIRST) - (each.choice is Choice.SECOND)
    return {question: _preference(list(found.values())) for question, found in leads.items()}


def _preference(leads: Sequence[int]) -> Preference:
    first, second = sum(lead > 0 for lead in leads), sum(lead < 0 for lead in leads)
    return Preference(preferred=first, decided=first + second, cases=len(leads))
