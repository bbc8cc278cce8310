"""Files of records: what is copied, what is encoded, and that a file never depends on what was there before."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.training.records import find_records, open_records, text_digest, values_of, write_records

SHAPES = {"text": (2, 3), "pooled": (4,)}


def values_for(digest: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(list(bytes.fromhex(digest)))
    return {name: rng.standard_normal(shape).astype(np.float16) for name, shape in SHAPES.items()}


class Encoder:
    """Encodes in batches of three, and knows what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, digests):
        for start in range(0, len(digests), 3):
            batch = digests[start : start + 3]
            self.asked += batch
            values = [values_for(digest) for digest in batch]
            yield {name: torch.from_numpy(np.stack([each[name] for each in values])).float() for name in SHAPES}


def digests_of(numbers) -> list[str]:
    return sorted(text_digest(f"text {number}") for number in numbers)


@given(st.lists(st.sets(st.integers(0, 20)), max_size=3), st.sets(st.integers(0, 20)))
def test_only_new_records_are_encoded_and_bytes_agree(tmp_path_factory, before, after):
    folder = tmp_path_factory.mktemp("records")
    earlier = [folder / f"before{number}.npy" for number in range(len(before))]
    for path, numbers in zip(earlier, before, strict=True):
        write_records(path, digests_of(numbers), SHAPES, [], Encoder())
    grown, nothing = Encoder(), Encoder()
    write_records(folder / "after.npy", digests_of(after), SHAPES, earlier, grown)
    write_records(folder / "nothing.npy", digests_of(after), SHAPES, [], nothing)
    assert grown.asked == digests_of(after.difference(*before))
    assert nothing.asked == digests_of(after)
    assert (folder / "after.npy").read_bytes() == (folder / "nothing.npy").read_bytes()
    records = open_records(folder / "after.npy")
    assert [digest.decode() for digest in records["digest"]] == digests_of(after)
    for record in records:
        found, wanted = values_of(record), values_for(record["digest"].decode())
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            np.testing.assert_array_equal(found[name], value)


def test_records_are_found_by_their_digest(tmp_path):
    write_records(tmp_path / "a.npy", digests_of(range(9)), SHAPES, [], Encoder())
    records = open_records(tmp_path / "a.npy")
    wanted = digests_of(range(5, 14))
    places, found = find_records(records, wanted)
    assert [digest for digest, is_there in zip(wanted, found, strict=True) if is_there] == digests_of(range(5, 9))
    assert [records[place]["digest"].decode() for place in places[found]] == digests_of(range(5, 9))


@pytest.mark.parametrize("digest", ["0" * 64, "f" * 64])
def test_a_digest_before_or_behind_all_others_is_not_found(tmp_path, digest):
    write_records(tmp_path / "a.npy", digests_of(range(9)), SHAPES, [], Encoder())
    assert not find_records(open_records(tmp_path / "a.npy"), [digest])[1].any()


def test_nothing_pickled_is_read(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        open_records(tmp_path / "a.npy")
