"""Samples come back from their shards as written, in the same bytes every time."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from stages.core.errors import InputError
from stages.corpus.samples import EditSample, read_edits, write_edits
from tests.support.memory import least_peak


def pixels(seed: int, mode: str = "RGB", size: int = 8) -> Image.Image:
    rng = np.random.default_rng(seed)
    if mode == "L":
        return Image.fromarray((rng.integers(2, size=(size, size)) * 255).astype(np.uint8))
    return Image.fromarray(rng.integers(256, size=(size, size, 3), dtype=np.uint8))


def numbered_edit(number: int) -> EditSample:
    return EditSample(
        key=f"{number:09d}",
        source=pixels(1),
        target=pixels(2),
        source_mask=pixels(3, "L"),
        target_mask=pixels(4, "L"),
        source_caption="a red car",
        edit_prompt="a blue car",
        source_diff="red car",
        target_diff="blue car",
        target_alt_text="IMG_7.jpg",
        metadata={"relation": "colour", "score": 0.25},
    )


def test_edit_samples_round_trip_to_the_same_bytes(tmp_path):
    samples = [numbered_edit(number) for number in range(2)]
    write_edits(tmp_path / "a.tar", samples)
    write_edits(tmp_path / "b.tar", samples)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    for written, read in zip(samples, read_edits(tmp_path / "a.tar"), strict=True):
        for name, value in vars(written).items():
            got = getattr(read, name)
            same = got.tobytes() == value.tobytes() if isinstance(value, Image.Image) else got == value
            assert same, name
        assert read.source_mask.mode == "L"


@pytest.mark.parametrize("read", [read_edits])
def test_missing_tar_is_named(tmp_path, read):
    with pytest.raises(InputError, match=r"none\.tar: cannot be opened: .*No such file or directory"):
        next(read(tmp_path / "none.tar"))


def test_members_of_no_sample_are_not_read(tmp_path):
    """None of them is kept in memory, whatever their number and extensions."""
    size, count = 100_000, 50
    path = tmp_path / "a.tar"
    write_edits(path, [numbered_edit(0)])
    with tarfile.open(path, "a") as tar:
        for number in range(count):
            info = tarfile.TarInfo(f"000000000.other{number}")
            info.size = size
            tar.addfile(info, io.BytesIO(bytes(size)))
    assert [sample.key for sample in read_edits(path)] == ["000000000"]
    assert least_peak(lambda: list(read_edits(path))) < size * count / 5  # bytes
