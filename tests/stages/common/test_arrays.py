"""Arrays of safetensors files, mapped and read whole, against NumPy."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from stages.common.arrays import map_arrays, read_arrays
from stages.core.errors import InputError

ARRAYS = {
    "halves": np.arange(12, dtype=np.float16).reshape(3, 4),
    "singles": np.linspace(-1, 1, 5, dtype=np.float32),
    "rows": np.array([[-1], [2**40]]),
    "keys": np.frombuffer(b"000000001", np.uint8),
    "none": np.zeros((0, 7), np.float32),
}


@pytest.fixture
def path(tmp_path):
    save_file(ARRAYS, tmp_path / "arrays.safetensors")
    return tmp_path / "arrays.safetensors"


@pytest.mark.parametrize("read", [map_arrays, read_arrays])
def test_arrays_are_what_was_written(path, read):
    found = read(path)
    assert found.keys() == ARRAYS.keys()
    for name, wanted in ARRAYS.items():
        assert found[name].dtype == wanted.dtype
        np.testing.assert_array_equal(found[name], wanted)


def test_mapped_arrays_are_read_only(path):
    with pytest.raises(ValueError, match="read-only"):
        map_arrays(path)["rows"][0] = 1


def test_a_replaced_file_is_mapped_anew(path):
    map_arrays(path)
    save_file({"rows": np.array([5])}, path.with_name("new"))
    path.with_name("new").replace(path)
    assert map_arrays(path)["rows"].tolist() == [5]


@pytest.mark.parametrize("read", [map_arrays, read_arrays])
@pytest.mark.parametrize("content", [None, b"", b"\x09", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0[]"])
def test_a_missing_or_damaged_file_is_named(path, read, content):
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(InputError, match=r"arrays\.safetensors: missing or damaged; run the stage that writes it$"):
        read(path)
