"""Cases: how a folder is split between validation and evaluation."""

from dataclasses import replace

import pytest

from stages.comparison.cases import DIVIDED, digest_cases, read_cases
from stages.core.paths import EVALUATION, HELD_OUT
from stages.corpus.corpus import Corpus
from stages.pairing.training_set import read_pairs, write_pairs
from tests.support.tiny_corpus import write_training_pairs


def test_a_shared_folder_is_split_without_a_common_image(models, workplace):
    params = write_training_pairs(
        models,
        shards=4,
        retrieve={"held_out": 1.0, "max_uses": 1},
        evaluate={"cases": str(HELD_OUT), "validation": str(HELD_OUT), "max_cases": 100},
    )
    images = {}
    for split in ("evaluation", "validation"):
        cases = [case.sample for case in read_cases(params, split)]
        images[split] = {key for case in cases for key in (case.key, case.metadata["target_key"])}
    assert images["evaluation"].isdisjoint(images["validation"])


def test_pairs_beyond_those_that_are_divided_are_not_read(models, workplace):
    folders = {"cases": str(HELD_OUT), "validation": str(HELD_OUT), "max_cases": 1}
    params = write_training_pairs(models, shards=6, retrieve={"held_out": 1.0, "max_uses": 1}, evaluate=folders)
    *few, last = sorted(HELD_OUT.glob("*.parquet"))
    assert sum(len(read_pairs(table)) for table in few) >= DIVIDED
    cases = [read_cases(params, split) for split in ("evaluation", "validation")]
    last.write_bytes(b"damaged")
    assert [read_cases(params, split) for split in ("evaluation", "validation")] == cases
    assert all(len(each) == 1 for each in cases)


@pytest.mark.parametrize("validation", [HELD_OUT, EVALUATION])
def test_only_the_cases_that_are_used_are_decoded(models, workplace, monkeypatch, validation):
    params = write_training_pairs(
        models,
        shards=4,
        retrieve={"held_out": 1.0, "max_uses": 1},
        evaluate={"cases": str(HELD_OUT), "validation": str(validation), "max_cases": 2},
    )
    read, picture = [], Corpus.picture
    monkeypatch.setattr(Corpus, "picture", lambda corpus, place: read.append(place.key) or picture(corpus, place))
    cases = [case.sample for case in read_cases(params)]
    assert len(cases) == 2
    assert read == [key for case in cases for key in (case.key, case.metadata["target_key"])]


def test_cases_stay_the_same_when_others_are_added(models, workplace):
    settings = {"retrieve": {"held_out": 1.0, "max_uses": 1}, "evaluate": {"cases": str(HELD_OUT), "max_cases": 2}}
    params = write_training_pairs(models, **settings)
    before = read_cases(params)
    rows = read_pairs(HELD_OUT / "00000.parquet")
    write_pairs(HELD_OUT / "00000.parquet", rows[:2])
    assert digest_cases(read_cases(params)) == digest_cases(before)
    moved = rows[1].target
    write_pairs(
        HELD_OUT / "00000.parquet", [rows[0], replace(rows[1], target_offset=moved.offset, target_length=moved.length + 1)]
    )
    assert digest_cases(read_cases(params)) == digest_cases(before)
    write_pairs(HELD_OUT / "00000.parquet", [rows[0], replace(rows[1], edit_prompt="another")])
    assert digest_cases(read_cases(params)) != digest_cases(before)
