"""Reviewers' decisions about pairs: a file that git tracks, one JSON object a line, and lines are only ever added.

A pair is known by its pictures and its prompt, not by keys: keys move when images come or go. Of several decisions about a
pair the latest counts, so the files of two reviewers merge line by line, in any order.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, NamedTuple, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from stages.common.json_lines import append_line, read_lines
from stages.common.text import one_line

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Line = Annotated[str, Field(max_length=500)]


class PairId(NamedTuple):
    """What a pair is known by."""

    source: str  # digest of the picture's pixels, as in the corpus
    target: str
    prompt: str  # as the stage mutate wrote it


class Verdict(StrEnum):
    """What a reviewer says about a pair."""

    KEEP = "keep"
    DROP = "drop"  # the candidate is no target for this edit; the next one may be
    MEND = "mend"  # the pair stays, with another prompt
    UNDECIDED = "undecided"  # takes an earlier decision back


class Mended(BaseModel):
    """A prompt that a reviewer has corrected, and what it changes in the caption: columns of a table of edits."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    edit_prompt: Annotated[Line, Field(min_length=1)]
    source_term: Annotated[Line, Field(min_length=1)]
    target_term: Annotated[Line, Field(min_length=1)]
    relation: Annotated[Line, Field(min_length=1)]
    source_diff: Annotated[Line, Field(min_length=1)]
    target_diff: Annotated[Line, Field(min_length=1)]


class Decision(BaseModel):
    """A line of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    key: Line  # of the source when it was reviewed; for readers, as is the target's
    target_key: Line
    prompt: Annotated[str, Field(min_length=1)]
    decision: Verdict
    mended: Mended | None = None
    remark: Line = ""
    reviewer: Line = ""
    time: AwareDatetime
    scores: dict[str, FiniteFloat] = {}  # what the reviewer saw, if the page wrote the line
    scored_by: str = ""  # digest of the models behind the scores
    source: Digest
    target: Digest

    @property
    def pair(self) -> PairId:
        """The pair that the decision is about."""
        return PairId(self.source, self.target, self.prompt)

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        if (self.mended is not None) != (self.decision is Verdict.MEND):
            raise ValueError("`mended` belongs to the decision mend, and only to it")
        mended = [] if self.mended is None else list(self.mended.model_dump().values())
        if any(text != one_line(text) for text in [self.key, self.target_key, self.remark, self.reviewer, *mended]):
            raise ValueError("texts must be single lines without control characters")
        return self


def read_decisions(path: Path) -> list[Decision]:
    """Return all decisions, oldest first; a missing file has none.

    Raises:
        InputError: a line is damaged, or the last one was cut off.
    """
    return sorted(read_lines(path, Decision), key=lambda decision: decision.time)


def latest_decisions(path: Path) -> dict[PairId, Decision]:
    """Return the decision that counts for each pair that has one.

    Raises:
        InputError: see :func:`read_decisions`.
    """
    latest = {decision.pair: decision for decision in read_decisions(path)}
    return {pair: decision for pair, decision in latest.items() if decision.decision is not Verdict.UNDECIDED}


def append_decision(path: Path, decision: Decision) -> None:
    """Write a decision at the end of the file, on disk before this returns; several reviewers may write at once.

    Raises:
        InputError: the last line was cut off, so that the decision would become a part of it.
    """
    append_line(path, decision)
