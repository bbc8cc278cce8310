"""The ingest stage: duplicates, keys, resuming, increments, limits, and the counts it writes."""

import hashlib
import re
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from omegaconf import OmegaConf
from PIL import Image

from stages import ingest as stage
from stages.core.errors import InputError
from stages.core.shards import read_counts
from stages.corpus import images
from stages.corpus.corpus import Corpus
from stages.corpus.duplicates import read_duplicates
from stages.ingest import ingest
from tests.support import ROOT
from tests.support.samples import encoded, noise
from tests.support.sources import (
    SIZE,
    corpus_files,
    kept,
    noise_pair,
    numbered_folder,
    params_for,
    refused,
    tar_of,
    write_folder,
)

PNG = encoded(noise(0))

pytestmark = pytest.mark.usefixtures("workplace")


def test_duplicates_are_left_out_across_shards_and_keys_keep_places(capsys):
    members = {"b": [1, 2, 1], "a": [3, 2, 4]}
    for name, seeds in members.items():
        rows = [(f"{n}.png", encoded(noise(seed))) for n, seed in enumerate(seeds)]
        texts = [(f"{n}.txt", b"text") for n in range(3)]
        Path(f"{name}.tar").write_bytes(tar_of(rows + texts))
    Path("a.tar").write_bytes(
        tar_of([("0.png", b"junk"), ("0.txt", b"a"), ("1.bmp", encoded(noise(2), "bmp")), ("1.txt", b"b")])
    )
    ingest(params_for({"kind": "webdataset", "path": "*.tar"}, max_refused=0.2))
    assert [row.key for row in kept()] == ["a0001", "b0000"]
    assert re.search(r"^  kept +2$", printed := capsys.readouterr().out, re.MULTILINE)
    assert "dropped: duplicate" in printed
    assert set(refused()) == {"a.tar/0"}
    assert read_duplicates(Path("data/corpus"), "b") == {"b0001": "a0001", "b0002": "b0000"}
    assert Path("data/corpus/duplicates.csv").read_text().splitlines() == [
        "origin,duplicate_of,reason",
        "b.tar/1,a.tar/1,duplicate",
        "b.tar/2,b.tar/0,duplicate",
    ]
    reason = "not an image (PNG, JPEG, WEBP, AVIF, BMP, GIF, TIFF)"
    assert {key.replace(", HEIF", ""): n for key, n in read_counts(Path("data/corpus"))["ingest"].items()} == {
        "duplicate": 2,
        reason: 1,
    }


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


def test_changed_picture_remakes_its_own_shard():
    ingest(params_for(numbered_folder([1, 2, 3, 4, 1, 5]), shard_size=2))
    before = _times()
    source = numbered_folder([1, 2, 5, 4, 1, 5])
    ingest(params_for(source, shard_size=2))
    changed, files = _times(), corpus_files()
    assert len([name for name in before if before[name] != changed[name]]) == 1
    assert sorted(row.pixels for row in kept()) == sorted(digest_of(seed) for seed in (1, 2, 4, 5))
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
    assert 0 < len({name for name in corpus_files() if name.endswith(".tar")}) < len([name for name in whole if ".tar" in name])
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


def test_more_samples_than_keys_is_an_error(monkeypatch):
    monkeypatch.setattr(stage, "MAX_SAMPLES", 1)
    Path("a.tar").write_bytes(tar_of(noise_pair(0) + noise_pair(1)))
    with pytest.raises(InputError, match=r"a\.tar: more than 1 samples"):
        ingest(params_for({"kind": "webdataset", "path": "a.tar"}))


def digest_of(seed: int) -> str:
    """SHA-256 of the pixels that a noise picture has in the corpus."""
    return hashlib.sha256(images.fit(noise(seed), size=SIZE, min_side=1).tobytes()).hexdigest()


def test_two_processes_write_the_same_bytes_as_one():
    for number in range(4):
        Path(f"{number}.tar").write_bytes(tar_of(noise_pair(number) + noise_pair(0) + [("junk.png", b"junk")]))
    params = params_for({"kind": "webdataset", "path": "*.tar"}, near_duplicates=2)
    ingest(params)
    serial = corpus_files()
    shutil.rmtree("data")
    ingest(params.model_copy(update={"execution": params.execution.model_copy(update={"engine": "processes", "workers": 2})}))
    assert corpus_files() == serial
    assert len([name for name in serial if name.endswith(".tar")]) == 4


def test_near_duplicates_are_left_out_with_their_reason():
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(256, size=(6, 6, 3), dtype=np.uint8)).resize((128, 128), Image.Resampling.BICUBIC)
    copy = encoded(smooth.resize((100, 100)), "jpeg", quality=80)
    source = write_folder([("a.png", "a", encoded(smooth)), ("b.jpg", "b", copy), ("c.png", "c", encoded(noise(1, 128)))])
    ingest(params_for(source, near_duplicates=None))
    assert len(kept()) == 3
    ingest(params_for(source, near_duplicates=4))
    assert {row.origin["name"] for row in kept()} == {"a.png", "c.png"}
    assert read_counts(Path("data/corpus")) == {"ingest": {"near duplicate": 1}}


@pytest.mark.parametrize(("kind", "extension"), [("jpeg", "jpg"), ("webp", "webp"), ("png", "png")])
def test_pictures_are_kept_in_the_wanted_format(kind, extension):
    ingest(params_for(numbered_folder([1]), format=kind, quality=70))
    (row,) = kept()
    with (
        tarfile.open(Corpus().inputs(Corpus().shards()[0])[0]) as tar,
        Image.open(tar.extractfile(f"{row.key}.{extension}")) as image,
    ):
        assert image.format == kind.upper()
        assert Corpus().image(row.key).tobytes() == image.convert("RGB").tobytes()


@pytest.mark.exhaustive
def test_photographs_take_at_most_90_kb_in_the_paper_preset():
    """With texts, headers, sidecars and index; the photographs of scikit-image."""
    paper = OmegaConf.to_container(OmegaConf.load(ROOT / "conf/preset/paper.yaml"))["ingest"]
    photographs = [getattr(skimage.data, name)() for name in ("astronaut", "chelsea", "coffee", "rocket", "retina", "cat")]
    source = write_folder([(f"{n}.png", f"text {n}", encoded(Image.fromarray(each))) for n, each in enumerate(photographs)])
    ingest(params_for(source, **paper | {"shard_size": 8, "max_pixels": 10_000_000, "near_duplicates": None}))
    rows, total = len(kept()), sum(len(data) for data in corpus_files().values())
    assert rows == 5  # the cat is there twice
    assert total / 6 <= 90_000
