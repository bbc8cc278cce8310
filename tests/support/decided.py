"""Decisions about pairs, as a reviewer makes them on the page."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from stages.core.paths import DECISIONS
from stages.corpus.corpus import Corpus
from stages.pairing.decisions import Decision, Mended, PairId, Verdict, append_decision

FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def pair_of(row: dict) -> PairId:
    """What a row of a table of pairs is known by."""
    corpus = Corpus()
    return PairId(corpus.row(row["key"]).pixels, corpus.row(row["target_key"]).pixels, row["edit_prompt"])


def decision_on(row: dict, verdict: str, *, second: int = 0, **changes) -> Decision:
    """A decision about a row of a table of pairs, so many seconds after the first."""
    pair = pair_of(row)
    facts = {"key": row["key"], "target_key": row["target_key"], **pair._asdict(), "decision": Verdict(verdict)}
    return Decision(**facts | {"time": FIRST + timedelta(seconds=second)} | changes)


def mended_as(prompt: str, **changes: str) -> Mended:
    """A mended prompt of a dog that becomes an ox."""
    texts = {"source_term": "dog", "target_term": "ox", "relation": "co-hyponym", "source_diff": "dog", "target_diff": "ox"}
    return Mended(edit_prompt=prompt, **texts | changes)


def decide(*decisions: Decision, path: Path = DECISIONS) -> None:
    for decision in decisions:
        append_decision(path, decision)
