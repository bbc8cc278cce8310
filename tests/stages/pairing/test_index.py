"""Indexes against a brute-force search: which kind is chosen, what it finds, and that it always has the same bytes."""

import errno
import os
from pathlib import Path

import faiss
import numpy as np
import pytest

from stages.core.errors import InputError
from stages.pairing.index import choose_index, is_lossless, write_index
from stages.pairing.neighbours import nearest
from tests.support.embedded import unit, write_index_of, write_pool

WIDTH = 32


def clustered(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((40, WIDTH))
    return unit(centres[rng.integers(40, size=count)] + 0.5 * rng.standard_normal((count, WIDTH)))


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return write_pool(tmp_path_factory.mktemp("embeddings"), clustered(3000), (1000, 700, 1300))


def found(index, queries: np.ndarray, count: int) -> np.ndarray:
    sources = np.full(len(queries), -1)
    rows = index.search(queries, count)
    return nearest(queries, sources, rows, index.pool.gather(rows), count)[0]


def true_neighbours(pool, queries: np.ndarray, count: int) -> np.ndarray:
    stored = pool.gather(np.arange(len(pool))).astype(np.float64)
    return np.argsort(-queries.astype(np.float64) @ stored.T, axis=1, kind="stable")[:, :count]


@pytest.mark.parametrize(
    "factory", ["Flat", "IVF16,Flat", "IVF16,SQfp16", "IVF16,PQ16x4fs", "IVF16_HNSW32,PQ16x4fs", "PQ8", "HNSW16"]
)
def test_neighbours_are_those_of_a_brute_force_search(pool, tmp_path, factory):
    queries = clustered(200, seed=1).astype(np.float32)
    got, wanted = found(write_index_of(pool, tmp_path, factory), queries, 10), true_neighbours(pool, queries, 10)
    if factory == "Flat":
        np.testing.assert_array_equal(got, wanted)
    assert np.mean(got[:, 0] == wanted[:, 0]) > 0.95
    assert np.mean([len(np.intersect1d(*pair)) / 10 for pair in zip(got, wanted, strict=True)]) > 0.85


@pytest.mark.parametrize("factory", ["Flat", "IVF16,SQfp16", "IVF16,PQ16x4fs", "IVF16_HNSW32,PQ16x4fs"])
def test_an_index_has_the_same_bytes_every_time(pool, tmp_path, factory):
    for name in ("one", "other"):
        write_index_of(pool, tmp_path / name, factory)
    assert (tmp_path / "one/pool.faiss").read_bytes() == (tmp_path / "other/pool.faiss").read_bytes()


def test_equal_images_come_in_the_order_of_the_corpus(tmp_path):
    vectors = unit(np.ones((6, 4)) + np.eye(6, 4))
    vectors[[1, 4]] = vectors[2]
    index = write_index_of(write_pool(tmp_path / "embeddings", vectors, (3, 3)), tmp_path / "index", "Flat")
    assert found(index, vectors[2:3].astype(np.float32), 3).tolist() == [[1, 2, 4]]


@pytest.mark.parametrize(
    ("images", "width", "memory", "wanted"),
    [
        (1, 512, 4.0, "Flat"),
        (10_000, 512, 0.001, "Flat"),
        (10_001, 512, 4.0, "IVF200,PQ256x4fs"),
        (300_000, 512, 4.0, "IVF1095,PQ256x4fs"),
        (1_000_000, 512, 0.1, "IVF2000,PQ128x4fs"),
        (1_000_000, 512, 0.03, "IVF2000,PQ32x4fs"),
        (1_000_000, 768, 4.0, "IVF2000,PQ384x4fs"),
        (100_000_000, 512, 14.0, "IVF20000_HNSW32,PQ256x4fs"),
    ],
)
def test_the_index_follows_size_and_memory(images, width, memory, wanted):
    assert choose_index(images, width, memory) == wanted
    faiss.index_factory(width, wanted.replace("IVF20000", "IVF20"), faiss.METRIC_INNER_PRODUCT)


def test_too_little_memory_is_an_error():
    with pytest.raises(InputError, match=r"^retrieve\.memory = 0\.01: an index of 1,000,000 images needs 0\.024 or more$"):
        choose_index(1_000_000, 512, 0.01)


@pytest.mark.parametrize("factory", ["Nonsense", "IVF16,PQ7x4fs", "IVF5000,SQfp16"])
def test_an_index_that_cannot_be_built_is_an_error(pool, tmp_path, factory):
    with pytest.raises(InputError, match=rf"^retrieve\.index = '{factory}': not for 3,000 images: (?!Error)"):
        write_index_of(pool, tmp_path, factory)


def test_only_whole_vectors_count_as_lossless():
    assert all(map(is_lossless, ("Flat", "SQfp16", "IVF7,Flat", "IVF7_HNSW32,SQfp16")))
    assert not any(map(is_lossless, ("PQ8", "IVF7,PQ8", "PCA16,Flat", "OPQ8,IVF7,Flat", "SQ8", "HNSW16")))


def test_a_full_disk_is_reported(pool):
    if not Path("/dev/full").exists():
        pytest.skip("the system has no /dev/full")
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        write_index(faiss.IndexFlatIP(4), Path("/dev/full"))
