"""Files of records: what is copied, what is encoded, and that a file never depends on what was there before."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.training.records import find_records, open_records, text_digest, write_records

SHAPE = (2, 3)


def value_of(digest: str) -> np.ndarray:
    return np.random.default_rng(list(bytes.fromhex(digest))).standard_normal(SHAPE).astype(np.float16)


class Encoder:
    """Encodes in batches of three, and knows what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, digests):
        for start in range(0, len(digests), 3):
            batch = digests[start : start + 3]
            self.asked += batch
            yield torch.from_numpy(np.stack([value_of(digest) for digest in batch])).float()


def digests_of(numbers) -> list[str]:
    return sorted(text_digest(f"text {number}") for number in numbers)


@given(st.lists(st.sets(st.integers(0, 20)), max_size=3), st.sets(st.integers(0, 20)))
def test_only_new_records_are_encoded_and_bytes_agree(tmp_path_factory, before, after):
    folder = tmp_path_factory.mktemp("records")
    earlier = [folder / f"before{number}.npy" for number in range(len(before))]
    for path, numbers in zip(earlier, before, strict=True):
        write_records(path, digests_of(numbers), SHAPE, [], Encoder())
    grown, nothing = Encoder(), Encoder()
    write_records(folder / "after.npy", digests_of(after), SHAPE, earlier, grown)
    write_records(folder / "nothing.npy", digests_of(after), SHAPE, [], nothing)
    assert grown.asked == digests_of(after.difference(*before))
    assert nothing.asked == digests_of(after)
    assert (folder / "after.npy").read_bytes() == (folder / "nothing.npy").read_bytes()
    records = open_records(folder / "after.npy")
    assert [digest.decode() for digest in records["digest"]] == digests_of(after)
    for record in records:
        np.testing.assert_array_equal(record["value"], value_of(record["digest"].decode()))


def test_records_are_found_by_their_digest(tmp_path):
    write_records(tmp_path / "a.npy", digests_of(range(9)), SHAPE, [], Encoder())
    records = open_records(tmp_path / "a.npy")
    wanted = digests_of(range(5, 14))
    places, found = find_records(records, wanted)
    assert [digest for digest, is_there in zip(wanted, found, strict=True) if is_there] == digests_of(range(5, 9))
    assert [records[place]["digest"].decode() for place in places[found]] == digests_of(range(5, 9))


@pytest.mark.parametrize("digest", ["0" * 64, "f" * 64])
def test_a_digest_before_or_behind_all_others_is_not_found(tmp_path, digest):
    write_records(tmp_path / "a.npy", digests_of(range(9)), SHAPE, [], Encoder())
    assert not find_records(open_records(tmp_path / "a.npy"), [digest])[1].any()


def test_nothing_pickled_is_read(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        open_records(tmp_path / "a.npy")
