"""Deciding about pairs: order, what is written, and what an undo restores."""

import os
import shutil

import pyarrow.parquet as pq
import pytest

from stages.core.errors import InputError
from stages.core.paths import DECISIONS, HELD_OUT, PAIRS, TRAINING_SET
from stages.pairing.decisions import Verdict, latest_decisions, read_decisions
from stages.pairing.scores import QUALITY, score_named
from stages.retrieve import retrieve
from stages.review.pairs import Pairs
from stages.review.reviewing import Reviewing
from stages.segment import segment
from tests.support.decided import mended_as, pair_of
from tests.support.tiny_corpus import params_for, rows_of

SCORE = QUALITY[0].name


def again(reviewing: Reviewing) -> Reviewing:
    """The pairs as a new page would show them."""
    return Reviewing(Pairs(), DECISIONS, reviewer="Ben", scored_by="m" * 64, describe=lambda _, prompt: mended_as(prompt))


def test_pairs_come_worst_first(reviewing):
    rows = rows_of(TRAINING_SET) + rows_of(HELD_OUT)
    pairs = reviewing.pairs
    assert len(pairs) == len(rows) > len(rows_of(HELD_OUT)) > 0
    for name, value in (("direction", lambda row: row["directional"]), ("difference", lambda row: -row["image_image"])):
        order = pairs.worst_first(score_named(name)).tolist()
        shown = [(pairs.row(place).key, pairs.row(place).target_key) for place in order]
        assert shown == [(row["key"], row["target_key"]) for row in sorted(rows, key=value)]
    assert {pairs.split(place) for place in range(len(pairs))} == {"training", "heldout"}


def test_the_gain_and_areas_are_what_they_say(reviewing):
    row = reviewing.pairs.row(3)
    measured = {name: values[3] for name, values in reviewing.pairs.measured.items()}
    assert score_named("gain").of(measured) == pytest.approx(row.text_image - row.text_source, abs=1e-6)
    areas = sorted([row.source_mask_area, row.target_mask_area])
    assert [score_named(f"{which} mask").of(measured) for which in ("smallest", "largest")] == pytest.approx(areas)


def test_a_decision_is_in_the_file_at_once(reviewing):
    place = reviewing.next_undecided(SCORE)
    reviewing.decide(place, Verdict.DROP, remark="not a \n cat")
    (written,) = read_decisions(DECISIONS)
    row = reviewing.pairs.row(place)
    assert written.pair == pair_of(vars(row))
    assert (written.decision, written.remark, written.reviewer) == (Verdict.DROP, "not a cat", "Ann")
    assert written.scores["directional"] == pytest.approx(row.directional, abs=1e-4)
    assert reviewing.next_undecided(SCORE, place) == reviewing.neighbour(SCORE, place, 1) != place


def test_decided_pairs_are_passed_over_by_the_next_page(reviewing):
    first = reviewing.next_undecided(SCORE)
    reviewing.decide(first, Verdict.KEEP)
    later = again(reviewing)
    assert later.next_undecided(SCORE) == reviewing.neighbour(SCORE, first, 1)
    assert later.counts() == {"keep": 1}
    for _ in range(len(later.pairs) - 1):
        later.decide(later.next_undecided(SCORE), Verdict.KEEP)
    last = later.neighbour(SCORE, first, 99)
    assert later.next_undecided(SCORE, last) == last


def test_undo_restores_what_counted_before(reviewing):
    place = reviewing.next_undecided(SCORE)
    first = reviewing.decide(place, Verdict.KEEP, remark="good")
    second = reviewing.decide(place, Verdict.MEND, prompt="an ox")
    reviewing.undo(second)
    (counts,) = latest_decisions(DECISIONS).values()
    assert (counts.decision, counts.remark, counts.mended) == (Verdict.KEEP, "good", None)
    reviewing.undo(first)
    assert latest_decisions(DECISIONS) == {}
    assert reviewing.decision(place) is None
    assert len(read_decisions(DECISIONS)) == 4


def test_a_mended_pair_is_known_by_its_first_prompt(models, reviewing):
    """After the stages have run, the table has the mended prompt; deciding again is still about the same pair."""
    place = next(each for each in range(len(reviewing.pairs)) if reviewing.pairs.row(each).caption == "a dog")
    before = vars(reviewing.pairs.row(place))
    reviewing.decide(place, Verdict.MEND, prompt="an ox")
    params = params_for(models, retrieve={"held_out": 0.5, "max_uses": 1}, evaluate={"cases": "data/heldout"})
    retrieve(params)
    segment(params)
    later = again(reviewing)
    (found,) = [each for each in range(len(later.pairs)) if later.pairs.row(each).edit_prompt == "an ox"]
    assert later.decision(found).decision is Verdict.MEND
    later.decide(found, Verdict.DROP)
    assert list(latest_decisions(DECISIONS)) == [pair_of(before)]
    retrieve(params)
    targets = [row["target_key"] for row in rows_of(PAIRS) if row["key"] == before["key"]]
    assert before["target_key"] not in targets


def test_tables_that_changed_are_reported(reviewing):
    path = next(iter(sorted(TRAINING_SET.glob("*.parquet"))))
    os.utime(path, ns=(1, 1))
    with pytest.raises(InputError, match=rf"{path}: has changed since this page was started; start it again"):
        reviewing.pairs.row(0)


def test_tables_of_older_code_are_reported_at_once(folder):
    path = min(TRAINING_SET.glob("*.parquet"))
    pq.write_table(pq.read_table(path).drop_columns(["source_offset"]), path)
    with pytest.raises(InputError, match=rf"^{path}: has no column source_offset"):
        Pairs()


def test_folders_without_a_pair_are_reported(folder):
    shutil.rmtree(HELD_OUT)
    with pytest.raises(InputError, match=r"data/heldout: no \.parquet shards"):
        Pairs()
