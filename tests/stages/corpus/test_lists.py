"""The lists for readers: what was refused, and what repeats what."""

from stages.corpus import lists
from stages.corpus.lists import write_repeats
from tests.support.corpora import write_corpus_of
from tests.support.samples import noise


def test_a_repeated_file_is_listed_with_the_one_it_repeats(tmp_path, monkeypatch):
    write_corpus_of(tmp_path, {"a": [noise(2), noise(1)], "b": [noise(1), noise(3), noise(1)], "c": [noise(2)]})
    write_repeats(tmp_path, ["a", "b", "c"])
    lines = ["origin,duplicate_of,reason", "b/0,a/1,duplicate", "b/2,a/1,duplicate", "c/0,a/0,duplicate"]
    assert (tmp_path / "duplicates.csv").read_text().splitlines() == lines
    monkeypatch.setattr(lists, "LISTED", 2)
    write_repeats(tmp_path, ["a", "b", "c"])
    assert (tmp_path / "duplicates.csv").read_text().splitlines() == lines[:3]
