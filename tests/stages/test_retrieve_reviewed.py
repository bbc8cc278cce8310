"""Stage retrieve with reviewers' decisions: what is dropped, mended, reported, and remade."""

import pytest

from stages.core.errors import InputError
from stages.core.paths import DECISIONS, PAIRS
from stages.retrieve import retrieve
from stages.segment import segment
from tests.support.decided import decide, decision_on, mended_as, pair_of
from tests.support.tiny_corpus import contents, counted, dropped, params_for, rows_of, write_world

SHARDS = 2


def data_of() -> dict[str, bytes]:
    return {name: data for name, (data, _) in contents(PAIRS).items()}


def test_a_file_without_decisions_changes_no_byte(models, workplace):
    write_world(SHARDS)
    retrieve(params_for(models))
    without = contents(PAIRS)
    DECISIONS.parent.mkdir()
    DECISIONS.touch()
    retrieve(params_for(models))
    assert counted("retrieve")[2:] == (0, SHARDS)
    assert {name: entry for name, entry in contents(PAIRS).items() if name != "counts.json"} == {
        name: entry for name, entry in without.items() if name != "counts.json"
    }
    assert data_of() == {name: data for name, (data, _) in without.items()}


def test_a_kept_pair_changes_no_byte(models, workplace):
    write_world(SHARDS)
    retrieve(params_for(models))
    before = data_of()
    decide(decision_on(rows_of(PAIRS)[0], "keep"))
    retrieve(params_for(models))
    assert data_of() == before


def test_a_dropped_pair_gives_way_to_the_next_candidate(models, workplace):
    """By the query's cosine, until none is left."""
    write_world(SHARDS)
    params = params_for(models, retrieve={"max_uses": 100})
    retrieve(params)
    first = rows_of(PAIRS)
    seen = []
    for second in range(5):  # params_for names five neighbours
        row = rows_of(PAIRS)[0]
        assert row["key"] == first[0]["key"]
        assert row["target_key"] not in [each["target_key"] for each in seen]
        seen.append(row)
        decide(decision_on(row, "drop", second=second))
        retrieve(params)
    assert [row["query"] for row in seen] == sorted((row["query"] for row in seen), reverse=True)
    assert rows_of(PAIRS) == first[1:]
    assert dropped("retrieve") == {"pair dropped in review": 1}


def test_a_decision_remakes_only_the_shard_of_its_pair(models, workplace):
    write_world(SHARDS)
    params = params_for(models, retrieve={"max_uses": 100})
    retrieve(params)
    before = contents(PAIRS)
    decide(decision_on(rows_of(PAIRS)[-1], "drop"))
    retrieve(params)
    after = contents(PAIRS)
    assert {name for name in after if after[name] != before[name]} == {"00001.parquet", "00001.done.json"}


def test_a_decision_taken_back_gives_the_first_bytes(models, workplace):
    write_world(SHARDS)
    retrieve(params_for(models))
    before, row = data_of(), rows_of(PAIRS)[0]
    decide(decision_on(row, "drop"))
    retrieve(params_for(models))
    assert data_of() != before
    decide(decision_on(row, "undecided", second=1))
    retrieve(params_for(models))
    assert data_of() == before


def test_a_mended_pair_keeps_its_target_and_its_scores(models, workplace):
    write_world(SHARDS)
    retrieve(params_for(models))
    before = rows_of(PAIRS)
    row = next(row for row in before if row["caption"] == "a dog")
    mended = mended_as("an ox")
    decide(decision_on(row, "mend", mended=mended))
    retrieve(params_for(models))
    assert rows_of(PAIRS) == [each | mended.model_dump() if each == row else each for each in before]
    segment(params_for(models))  # its masks are made by the new words


def test_a_mended_prompt_of_another_caption_is_refused(models, workplace):
    write_world(SHARDS)
    retrieve(params_for(models))
    row = next(row for row in rows_of(PAIRS) if row["caption"] != "a dog")
    decide(decision_on(row, "mend", mended=mended_as("an ox")))
    with pytest.raises(InputError, match=r"^the mended prompt 'an ox' of the pair \d+ → \d+ changes 'dog', which its caption"):
        retrieve(params_for(models))


def test_a_decision_about_no_candidate_is_reported(models, workplace, capsys):
    write_world(SHARDS)
    retrieve(params_for(models))
    before, rows = data_of(), rows_of(PAIRS)
    assert "are about pairs" not in capsys.readouterr().out
    known = decision_on(rows[0], "keep")
    others = [{"prompt": "a yak"}, {"target": "0" * 64}, {"source": "0" * 64}]
    strangers = [known.model_copy(update=change) for change in others]
    assert len({each.pair for each in [known, *strangers]}) == 4
    decide(known, *strangers)
    retrieve(params_for(models))
    said = capsys.readouterr().out
    assert f"3 decisions of conf/review.jsonl are about pairs that are no candidates now, such as {known.key} → " in said
    assert data_of() == before


def test_a_decision_follows_its_pictures_to_new_keys(models, workplace):
    """Keys move when pictures come or go: the pair is known by its pixels and its prompt."""
    write_world(SHARDS)
    retrieve(params_for(models))
    decision = decision_on(rows_of(PAIRS)[0], "drop")
    decide(decision.model_copy(update={"key": "elsewhere", "target_key": "gone"}))
    retrieve(params_for(models))
    assert decision.pair not in {pair_of(row) for row in rows_of(PAIRS)}


def test_a_torn_file_stops_the_stage_before_any_work(models, workplace):
    write_world(1)
    DECISIONS.parent.mkdir()
    DECISIONS.write_text('{"key": "0')
    with pytest.raises(InputError, match=r"conf/review\.jsonl: line 1 is cut off or damaged"):
        retrieve(params_for(models))
    assert not PAIRS.exists()
