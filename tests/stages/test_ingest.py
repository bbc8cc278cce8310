"""The ingest stage: duplicates, keys, resuming, increments, limits, and the counts it writes."""

import shutil
from pathlib import Path

import pytest

from stages import ingest as stage
from stages.core.errors import InputError
from stages.core.shards import read_counts
from stages.corpus import images
from stages.ingest import ingest
from tests.support.samples import encoded, noise
from tests.support.sources import corpus_files, kept, noise_pair, numbered_folder, params_for, refused, tar_of, write_folder

PNG = encoded(noise(0))

pytestmark = pytest.mark.usefixtures("workplace")


def test_duplicates_are_dropped_across_shards_and_keys_keep_places(capsys):
    rows = [(f"{n}.png", f"text {n}", encoded(noise(seed))) for n, seed in enumerate([1, 2, 1, 3, 2, 4])]
    rows[4] = ("4.bmp", "other bytes, same pixels", encoded(noise(2), "bmp"))
    ingest(params_for(write_folder(rows), shard_size=3, max_refused=0.0))
    assert [sample.key for sample in kept()] == ["000000000", "000000001", "000010000", "000010002"]
    assert "dropped: duplicate" in capsys.readouterr().out
    assert refused() == {}
    assert read_counts(Path("data/corpus")) == {"ingest": {"duplicate": 2}}


def _times() -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in Path("data/corpus").glob("*.tar")}


def test_new_parts_leave_earlier_shards_and_match_one_run():
    seeds = [1, 2, 3, 1, 4, 2, 3, 5]
    ingest(params_for(numbered_folder(seeds[:4]), shard_size=2))
    before = _times()
    ingest(params_for(numbered_folder(seeds), shard_size=2))
    incremental = corpus_files()
    assert {name: _times()[name] for name in before} == before
    shutil.rmtree("data")
    ingest(params_for(numbered_folder(seeds), shard_size=2))
    assert corpus_files() == incremental


def test_changed_part_remakes_later_shards():
    ingest(params_for(numbered_folder([1, 2, 3, 4, 1, 5]), shard_size=2))
    before = _times()
    source = numbered_folder([1, 2, 5, 4, 1, 5])
    ingest(params_for(source, shard_size=2))
    changed, files = _times(), corpus_files()
    assert [name for name in sorted(before) if before[name] != changed[name]] == ["00001.tar", "00002.tar"]
    assert [sample.key for sample in kept()] == ["000000000", "000000001", "000010000", "000010001"]
    shutil.rmtree("data")
    ingest(params_for(source, shard_size=2))
    assert corpus_files() == files


def test_resumed_run_matches_one_run(monkeypatch):
    source = numbered_folder([1, 2, 3, 1, 4, 2, 3, 5])
    ingest(params_for(source, shard_size=2))
    whole = corpus_files()
    shutil.rmtree("data")
    calls = iter(range(100))
    fit = images.fit

    def fail_at_the_sixth(*args, **kwargs):
        if next(calls) == 5:
            raise KeyboardInterrupt
        return fit(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(images, "fit", fail_at_the_sixth)
        with pytest.raises(KeyboardInterrupt):
            ingest(params_for(source, shard_size=2))
    assert {name for name in corpus_files() if name.endswith(".tar")} == {"00000.tar", "00001.tar"}
    ingest(params_for(source, shard_size=2))
    assert corpus_files() == whole


def test_too_many_refused_is_one_line_after_the_list():
    rows = [("a.png", "a", PNG), ("b.png", "b", b"junk"), ("c.png", "c", PNG), ("d.png", "d", b"")]
    source = write_folder(rows)
    ingest(params_for(source, max_refused=0.5))
    with pytest.raises(InputError, match=r"ingest.max_refused = 0.4: 2 of 4 samples were refused \(50.0%\)"):
        ingest(params_for(source, max_refused=0.4))
    assert set(refused()) == {"b.png", "d.png"}


def test_empty_corpus_is_an_error():
    with pytest.raises(InputError, match="1 of 1 samples were refused"):
        ingest(params_for(write_folder([("a.png", "a", b"junk")]), max_refused=1.0))
    Path("a.tar").write_bytes(tar_of([]))
    with pytest.raises(InputError, match="has no samples"):
        ingest(params_for({"kind": "webdataset", "path": "a.tar"}))


def test_more_shards_than_names_is_an_error(monkeypatch):
    monkeypatch.setattr(stage, "MAX_SHARDS", 1)
    source = write_folder([("a.png", "a", PNG), ("b.png", "b", PNG)])
    with pytest.raises(InputError, match=r"^ingest\.source: 2 shards; at most 1 have a name, raise ingest\.shard_size$"):
        ingest(params_for(source, shard_size=1))


def test_more_samples_than_keys_is_an_error(monkeypatch):
    monkeypatch.setattr(stage, "MAX_SAMPLES", 1)
    Path("a.tar").write_bytes(tar_of(noise_pair(0) + noise_pair(1)))
    with pytest.raises(InputError, match=r"a\.tar: more than 1 samples"):
        ingest(params_for({"kind": "webdataset", "path": "a.tar"}))
