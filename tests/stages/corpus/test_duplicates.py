"""Duplicates: the same table whatever the order of work, exact and near ones, in flat memory."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from stages.common.parquet import write_table
from stages.corpus import duplicates
from stages.corpus.duplicates import read_duplicates, write_duplicates
from stages.corpus.perceptual_hash import perceptual_hash
from stages.corpus.shard import INDEX_COLUMNS, key_of
from tests.support.corpora import write_corpus_of
from tests.support.memory import least_peak
from tests.support.samples import encoded, noise


def table(corpus, shards) -> dict[str, str]:
    return {key: kept for shard in shards for key, kept in read_duplicates(corpus, shard).items()}


def write_index(folder, shard: str, digests: list[str], hashes: list[int] | None = None) -> None:
    """Write an index of pictures with these digests and hashes, but no pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    empty = {"offset": 0, "length": 0, "width": 1, "height": 1, "alt_text": "", "origin": "{}"}
    rows = [
        empty | {"key": key_of(shard, place), "pixels": digest, "perceptual_hash": hashes[place] if hashes else 0}
        for place, digest in enumerate(digests)
    ]
    write_table(folder / f"{shard}.parquet", rows, INDEX_COLUMNS)


def test_first_of_equal_pictures_is_kept_across_shards(tmp_path):
    counts = write_corpus_of(tmp_path, {"b": [noise(1), noise(3), noise(1)], "a": [noise(2), noise(1)], "c": [noise(2)]})
    assert counts == {"duplicate": 3}
    assert table(tmp_path, "abc") == {"b0000": "a0001", "b0002": "a0001", "c0000": "a0000"}


def test_random_digests_match_a_dictionary(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    kinds = [rng.bytes(32).hex() for _ in range(120)]
    names = [f"{n:02d}" for n in range(9)]
    first, expected = {}, {}
    for name in names:
        digests = [kinds[n] for n in rng.integers(len(kinds), size=50)]
        write_index(tmp_path, name, digests)
        for place, digest in enumerate(digests):
            key = key_of(name, place)
            if first.setdefault(digest, key) != key:
                expected[key] = first[digest]
    for most in (1, 4, 256):
        monkeypatch.setattr(duplicates, "MOST", most)
        assert write_duplicates(tmp_path, names, None) == {"duplicate": len(expected)}
        assert table(tmp_path, names) == expected


@pytest.mark.parametrize("near", [0, 2, 5])
def test_near_duplicates_match_a_comparison_of_all(tmp_path, near, monkeypatch):
    monkeypatch.setattr(duplicates, "BLOCK", 7)
    rng = np.random.default_rng(near)
    bases = [int.from_bytes(rng.bytes(8), "big") for _ in range(12)]
    hashes = []
    for _ in range(150):
        bits = rng.choice(64, size=rng.integers(8), replace=False)
        hashes.append(bases[rng.integers(12)] ^ sum(1 << int(bit) for bit in bits))
    names = ["a", "b", "c"]
    for number, name in enumerate(names):
        digests = [rng.bytes(32).hex() for _ in range(50)]
        write_index(tmp_path, name, digests, hashes[50 * number : 50 * number + 50])
    keys = [key_of(name, place) for name in names for place in range(50)]
    expected = {}
    for later, value in enumerate(hashes):
        close = [n for n in range(later) if (value ^ hashes[n]).bit_count() <= near]
        if close:
            expected[keys[later]] = keys[close[0]]
    assert len(expected) > 5
    assert write_duplicates(tmp_path, names, near) == {"near duplicate": len(expected)}
    assert table(tmp_path, names) == expected


def test_pictures_of_one_look_cost_memory_once(tmp_path):
    """Placeholders and blank pictures are many, and all alike."""
    peaks = []
    for count in (500, 4000):
        rng = np.random.default_rng(0)
        folder = tmp_path / str(count)
        write_index(folder, "a", [rng.bytes(32).hex() for _ in range(count)], [7] * count)
        assert write_duplicates(folder, ["a"], 2) == {"near duplicate": count - 1}
        peaks.append(least_peak(lambda folder=folder: write_duplicates(folder, ["a"], 2)) / count)
    assert peaks[1] < 1.5 * peaks[0]  # bytes a picture; compared one with another, a picture would take eight times as many


def test_exact_duplicate_is_not_counted_as_near(tmp_path):
    counts = write_corpus_of(tmp_path, {"a": [noise(1), noise(1), noise(2)]}, near=0)
    assert counts == {"duplicate": 1}


def _photograph() -> Image.Image:
    """A smooth picture with structure at all scales."""
    rng = np.random.default_rng(5)
    layers = [np.kron(rng.random((side, side)), np.ones((128 // side, 128 // side))) for side in (2, 4, 8, 16, 32)]
    grey = Image.fromarray(np.uint8(255 * sum(layers) / len(layers))).filter(ImageFilter.GaussianBlur(1))
    return Image.merge("RGB", [grey, grey.point(lambda value: value // 2), grey])


def test_recompressed_and_resized_copies_are_near_duplicates():
    picture = _photograph()
    smaller = picture.resize((96, 96)).resize((128, 128))
    compressed = Image.open(io.BytesIO(encoded(picture, "jpeg", quality=50))).convert("RGB")
    whole = perceptual_hash(picture)
    assert (whole ^ perceptual_hash(smaller)).bit_count() <= 2
    assert (whole ^ perceptual_hash(compressed)).bit_count() <= 2
    assert (whole ^ perceptual_hash(picture.transpose(Image.Transpose.ROTATE_90))).bit_count() > 10
    assert (whole ^ perceptual_hash(noise(1, 128))).bit_count() > 10


def test_part_is_rewritten_only_when_its_rows_change(tmp_path):
    write_corpus_of(tmp_path, {"a": [noise(1)], "b": [noise(1)], "c": [noise(3)]})
    times = {shard: duplicates.duplicates_path(tmp_path, shard).stat().st_mtime_ns for shard in "abc"}
    write_index(tmp_path, "c", [duplicates.read_columns(tmp_path / "a.parquet", {"pixels": "string"})["pixels"][0].as_py()])
    duplicates.duplicates_path(tmp_path, "b").write_bytes(b"damaged")
    (tmp_path / "duplicates/x.parquet").touch()
    write_duplicates(tmp_path, ["a", "b", "c"], None)
    assert table(tmp_path, "abc") == {"b0000": "a0000", "c0000": "a0000"}
    assert duplicates.duplicates_path(tmp_path, "a").stat().st_mtime_ns == times["a"]
    assert {path.name for path in (tmp_path / "duplicates").iterdir()} == {"a.parquet", "b.parquet", "c.parquet"}


def test_empty_shards_have_empty_parts(tmp_path):
    assert write_corpus_of(tmp_path, {"a": [], "b": [noise(1)]}, near=3) == {}
    assert table(tmp_path, "ab") == {}


def test_memory_does_not_grow_with_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(duplicates, "MOST", 64)
    peaks = []
    for count in (8, 64):
        rng = np.random.default_rng(0)
        names = [f"{n:03d}" for n in range(count)]
        for name in names:
            write_index(tmp_path / str(count), name, [rng.bytes(32).hex() for _ in range(300)])
        peaks.append(least_peak(lambda folder=tmp_path / str(count), names=names: write_duplicates(folder, names, None)))
    assert peaks[1] < 2 * peaks[0]  # eight times as many shards
