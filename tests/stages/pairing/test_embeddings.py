"""The embeddings of several shards read as one array, and how shards are divided into pools."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.errors import InputError
from stages.pairing.embeddings import Pool, divide, images_path, single
from tests.support.embedded import unit, write_pool

SIZES = (3, 0, 5, 1, 0)


@pytest.fixture
def pool(tmp_path):
    vectors = unit(np.random.default_rng(0).standard_normal((9, 4)))
    return write_pool(tmp_path, vectors, SIZES), vectors.astype(np.float16).astype(np.float32)


def test_every_half_is_read_as_the_same_number():
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)].reshape(2, -1)
    np.testing.assert_array_equal(single(halves), halves.astype(np.float32))


def test_rows_are_those_of_all_shards_in_order(pool):
    read, vectors = pool
    assert (len(read), read.width) == (9, 4)
    rows = np.array([[8, 0, 3], [3, 7, 2]])
    np.testing.assert_array_equal(single(read.gather(rows)), vectors[rows])
    assert read.gather(np.zeros((0, 5), np.int64)).shape == (0, 5, 4)
    assert read.keys(np.array([8, 2, 3])) == ["000030000", "000000002", "000020000"]
    assert [read.first_row(f"{number:05d}") for number in range(5)] == [0, 3, 3, 8, 9]


def test_what_a_pool_has_read_does_not_travel(pool):
    read, vectors = pool
    alone = pickle.dumps(read)
    read.gather(np.array([8, 0]))
    read.keys(np.array([3]))
    assert pickle.dumps(read) == alone
    np.testing.assert_array_equal(single(pickle.loads(alone).gather(np.array([8, 0]))), vectors[[8, 0]])


@pytest.mark.parametrize("size", [1, 2, 100])
def test_blocks_hold_every_image_once(pool, size):
    read, vectors = pool
    blocks = list(read.blocks(size))
    assert max(map(len, blocks)) <= size
    np.testing.assert_array_equal(np.concatenate(blocks), vectors)


@pytest.mark.parametrize("cut", [0, 4, 60, 150])
def test_a_truncated_file_is_an_error(pool, cut):
    path = images_path(pool[0].folder, "00000")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"00000\.images\.safetensors: missing or damaged; run the stage that writes it$"):
        Pool(pool[0].folder, (("00000", 3),)).gather(np.array([0]))


NAMES = st.lists(st.integers(0, 10**6).map("{:07d}".format), unique=True, min_size=1, max_size=60).map(sorted)


@given(names=NAMES, size=st.integers(1, 8))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_pools_hold_every_shard_once_in_order(names, size):
    pools = divide(names, size)
    assert [name for pool in pools for name in pool] == names
    assert all(size / 2 <= len(pool) <= 2 * size for pool in pools[:-1])
    assert 1 <= len(pools[-1]) <= 2 * size
    assert divide(names, None) == [tuple(names)]


def test_a_shard_that_comes_changes_few_pools():
    names = [f"{number:05d}" for number in range(0, 2000, 2)]
    before = set(divide(names, 10))
    for number in range(1, 2000, 100):
        after = divide(sorted([*names, f"{number:05d}"]), 10)
        assert len(set(after) - before) <= 4
    assert len(set(divide([*names, "99999"], 10)) - before) == 1
