"""Digests of what the corpus holds of the images of each table of pairs."""

import random
import shutil
from pathlib import Path

import pytest

from stages.common.parquet import write_table
from stages.core.errors import InputError
from stages.core.paths import CORPUS
from stages.corpus.corpus import Corpus, CorpusRow
from stages.corpus.shard import key_of
from stages.pairing import images
from stages.pairing.images import digest_images
from tests.support.memory import least_peak
from tests.support.tiny_corpus import SHARD_SIZE, key_for, write_tiny_corpus

COUNT = 2 * SHARD_SIZE
PAIRS = {"a": [(0, 1), (2, COUNT - 1)], "b": [(COUNT - 2, 1)], "c": []}


def digests(pairs: dict[str, list[tuple[int, int]]] = PAIRS) -> dict[str, str]:
    for name, each in pairs.items():
        rows = [{"key": key_for(source), "target_key": key_for(target)} for source, target in each]
        write_table(Path(f"{name}.parquet"), rows, images.KEYS)
    paths = [Path(f"{name}.parquet") for name in pairs]
    return dict(zip(pairs, digest_images(paths, Corpus()), strict=True))


@pytest.mark.parametrize(("changed", "names"), [(0, "a"), (1, "ab"), (COUNT - 1, "a"), (COUNT - 2, "b"), (3, "")])
def test_a_picture_changes_the_digests_of_its_pairs_only(workplace, changed, names):
    write_tiny_corpus(range(COUNT))
    before = digests()
    shutil.rmtree(CORPUS)
    write_tiny_corpus(range(COUNT), pictures=[100 if number == changed else number for number in range(COUNT)])
    after = digests()
    assert "".join(name for name in PAIRS if before[name] != after[name]) == names


def test_every_index_is_read_once(workplace, monkeypatch):
    write_tiny_corpus(range(COUNT))
    read, rows = [], Corpus.rows
    monkeypatch.setattr(Corpus, "rows", lambda corpus, shard: read.append(shard) or rows(corpus, shard))
    monkeypatch.setattr(Corpus, "row", lambda *_: pytest.fail("a row was looked up"))
    digests()
    assert read == ["00000", "00001"]


def test_an_unknown_image_is_refused(workplace):
    write_tiny_corpus(range(SHARD_SIZE))
    with pytest.raises(InputError, match=f"^the corpus has no image {key_for(COUNT)!r}; run the stages from ingest on$"):
        digests({"a": [(0, COUNT)]})


class Synthetic(Corpus):
    """A corpus of many shards without pictures."""

    SIZE = 200

    def __init__(self, shards: int) -> None:
        super().__init__()
        self.names = [f"{number:04d}" for number in range(shards)]

    def shards(self) -> list[str]:
        return self.names

    def rows(self, shard: str) -> list[CorpusRow]:
        keys = [key_of(shard, place) for place in range(self.SIZE)]
        nothing = {"alt_text": "", "facts": "{}", "width": 1, "height": 1, "offset": 0, "length": 0}
        return [CorpusRow(key=key, pixels=key * 2, **nothing) for key in keys]

    def tables(self) -> list[Path]:
        """Write a table a shard, whose pairs have any targets."""
        chance = random.Random(0)
        for name in self.names:
            keys = [(key_of(name, place), key_of(chance.choice(self.names), place)) for place in range(self.SIZE)]
            rows = [dict(zip(images.KEYS, pair, strict=True)) for pair in keys[: chance.randrange(self.SIZE + 1)]]
            write_table(Path(f"{name}.parquet"), rows, images.KEYS)
        return [Path(f"{name}.parquet") for name in self.names]


def test_digests_do_not_depend_on_the_buckets(workplace, monkeypatch):
    corpus = Synthetic(30)
    tables, found = corpus.tables(), []
    for tables_of_bucket in (1, 7, 64):
        monkeypatch.setattr(images, "TABLES", tables_of_bucket)
        found.append(digest_images(tables, corpus))
    assert found[0] == found[1] == found[2]
    assert len(set(found[0])) == len(tables)


def test_memory_does_not_grow_with_the_corpus(workplace, monkeypatch):
    monkeypatch.setattr(images, "TABLES", 4)
    peaks = []
    for shards in (20, 160):
        corpus = Synthetic(shards)
        tables = corpus.tables()
        peaks.append(least_peak(lambda corpus=corpus, tables=tables: digest_images(tables, corpus)))
    assert peaks[1] < 2 * peaks[0]  # eight times as many shards
