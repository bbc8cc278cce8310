"""Images are counted by the licence that their source states."""

import pytest

from stages.core.errors import InputError
from stages.corpus import licences
from stages.corpus.licences import count_licences
from tests.support.corpora import corpus_sample, write_shards_of
from tests.support.samples import noise

SLY = 'x", "license": "free'  # within another fact: in JSON its quotes are escaped


def write_corpus(folder, *stated):
    """Write a corpus of two shards, whose pictures state these licences in turn; None states none."""
    facts = [{} if licence is None else {"license": licence, "url": SLY} for licence in stated]
    shards = {"a": facts[:1], "b": facts[1:]}
    samples = {
        name: [corpus_sample(name, place, noise(place), **each) for place, each in enumerate(found)]
        for name, found in shards.items()
    }
    write_shards_of(folder, samples)


def test_images_are_counted_by_licence(tmp_path, monkeypatch):
    write_corpus(tmp_path, "CC BY 4.0", None, "CC BY 4.0", 'so "free" \\ é', "  ", None)
    assert count_licences(tmp_path) == {"not stated": 3, "CC BY 4.0": 2, 'so "free" \\ é': 1}
    monkeypatch.setattr(licences, "SHOWN_LICENCES", 1)
    assert count_licences(tmp_path) == {"not stated": 3, "other licences": 3}


def test_order_does_not_decide_which_are_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(licences, "SHOWN_LICENCES", 2)
    write_corpus(tmp_path, "c", "other licences", "b", "other licences", "a", "a")
    assert list(count_licences(tmp_path).items()) == [("a", 2), ("other licences", 4)]


def test_where_none_is_stated_there_are_none(tmp_path):
    write_corpus(tmp_path, None, None)
    assert count_licences(tmp_path) == {}


def test_a_corpus_without_an_index_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"no \.parquet shards"):
        count_licences(tmp_path)
