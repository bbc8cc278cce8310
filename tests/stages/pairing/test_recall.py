"""Recall of an index, against neighbours by brute force in float64."""

import numpy as np
import pytest

from stages.pairing.recall import exact_neighbours, measure_recall
from tests.support.embedded import unit, write_index_of, write_pool

IMAGES, QUERIES, WIDTH = 600, 50, 16


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    vectors = unit(np.random.default_rng(0).standard_normal((IMAGES, WIDTH)))
    return write_pool(tmp_path_factory.mktemp("embeddings"), vectors, (200, 300, 100))


@pytest.fixture(scope="module")
def queries():
    return unit(np.random.default_rng(1).standard_normal((QUERIES, WIDTH))).astype(np.float32)


def brute_force(pool, queries: np.ndarray) -> np.ndarray:
    stored = pool.gather(np.arange(IMAGES)).astype(np.float64)
    return np.argsort(-queries.astype(np.float64) @ stored.T, axis=1, kind="stable")


def test_exact_neighbours_are_those_of_a_brute_force_search(pool, queries):
    np.testing.assert_array_equal(exact_neighbours(pool, queries, 20), brute_force(pool, queries)[:, :20])


def test_an_index_of_everything_misses_nothing(pool, queries, tmp_path):
    sources = np.arange(QUERIES)
    assert measure_recall(write_index_of(pool, tmp_path, "Flat"), queries, sources) == {1: 1.0, 20: 1.0}


def test_a_lossy_index_has_the_share_that_it_finds(pool, queries, tmp_path):
    index = write_index_of(pool, tmp_path, "IVF40,Flat")  # reads a part of its lists
    sources = brute_force(pool, queries)[:, 0]  # each query's nearest image is its own, which does not count
    wanted = brute_force(pool, queries)[:, 1:21]
    rows = index.search(queries, 21)
    shares = [
        len(np.intersect1d(true, found[found != own])) / 20 for true, found, own in zip(wanted, rows, sources, strict=True)
    ]
    recall = measure_recall(index, queries, sources)
    assert recall[20] == pytest.approx(np.mean(shares))
    assert recall[1] == pytest.approx(np.mean([true[0] in found for true, found in zip(wanted, rows, strict=True)]))
