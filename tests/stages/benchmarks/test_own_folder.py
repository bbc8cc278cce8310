"""A folder of one's own cases."""

import numpy as np
import pytest
from PIL import Image

from stages.benchmarks import run_length
from stages.benchmarks.own_folder import read_own_folder
from stages.core.errors import InputError
from tests.support.benchmark_folders import own
from tests.support.judges import box


def test_without_a_mask_the_whole_picture_may_change(tmp_path):
    first, second = read_own_folder(own(tmp_path))
    assert (first.prompt, second.prompt) == ("a red dog", "a cat")
    assert np.asarray(first.mask()).mean() == 255 / 8
    assert np.asarray(second.mask()).min() == 255


def test_without_terms_the_prompt_is_the_instruction(tmp_path):
    _, second = read_own_folder(own(tmp_path))
    assert second.at(32).sample.metadata["instruction"] == "a cat"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("source,prompt\n", "has no rows"),
        ("source,prompt,maks\na.png,a dog,m.png\n", "has the column maks; allowed are source, prompt, mask"),
        ("source,prompt\nb.png,a dog\n", "row 1: source: b.png: no such file"),
        ("source,prompt\n../a.png,a dog\n", "row 1: source: ../a.png: leads out of the folder"),
        ("source,prompt\na.png,\n", "row 1: prompt must be a text that is not blank"),
        ("source,prompt,mask\na.png,a dog,/etc/passwd\n", "row 1: mask: /etc/passwd: leads out"),
    ],
)
def test_bad_rows_are_refused_in_one_line(tmp_path, rows, message):
    with pytest.raises(InputError, match=message):
        read_own_folder(own(tmp_path, rows))


def test_zeros_and_ones_are_a_mask(tmp_path):
    (case, _) = read_own_folder(own(tmp_path))
    Image.fromarray(box().astype(np.uint8)).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(run_length.from_image(case.mask()), box())


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (Image.new("L", (64, 64)), "mask mask.png: is black everywhere; it must be white where the picture may change"),
        (Image.new("RGBA", (64, 64), (255, 255, 255, 9)), "mask mask.png: the mask has transparent parts"),
    ],
)
def test_a_mask_without_black_and_white_is_refused(tmp_path, mask, message):
    (case, _) = read_own_folder(own(tmp_path))
    mask.save(tmp_path / "mask.png")
    with pytest.raises(InputError, match=message):
        case.mask()


def test_a_mask_of_another_size_is_refused(tmp_path):
    (case, _) = read_own_folder(own(tmp_path))
    Image.new("L", (10, 10)).save(tmp_path / "mask.png")
    with pytest.raises(InputError, match=r"mask mask.png: has \(10, 10\) pixels, its picture \(64, 64\)"):
        case.mask()
