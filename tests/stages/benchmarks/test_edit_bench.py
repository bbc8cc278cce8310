"""EditBench's folder."""

import numpy as np
import pytest

from stages.benchmarks import run_length
from stages.benchmarks.edit_bench import read_edit_bench
from stages.core.errors import InputError
from tests.support.benchmark_folders import edit_bench
from tests.support.judges import box


def test_every_picture_has_three_prompts(tmp_path):
    cases = read_edit_bench(edit_bench(tmp_path))
    assert [case.kind for case in cases] == ["full", "simple", "rich"] * 2
    assert [case.prompt for case in cases[:3]] == ["a red cup in a natural kitchen", "a red cup", "a tall red cup"]
    assert len({case.key for case in cases}) == 6
    np.testing.assert_array_equal(run_length.from_image(cases[0].mask()), box())


def test_one_part_is_enough_and_none_is_not(tmp_path):
    edit_bench(tmp_path)
    (tmp_path / "annotations_natural.csv").unlink()
    assert len(read_edit_bench(tmp_path)) == 3
    (tmp_path / "annotations_generated.csv").unlink()
    with pytest.raises(InputError, match=r"has none of annotations_natural.csv, annotations_generated.csv"):
        read_edit_bench(tmp_path)


def test_names_and_columns_are_checked(tmp_path):
    table = edit_bench(tmp_path) / "annotations_natural.csv"
    content = table.read_text()
    table.write_text(content.replace("color_common_indoor", "../../secret"))
    with pytest.raises(InputError, match="leads out of the folder"):
        read_edit_bench(tmp_path)
    table.write_text(content.replace("prompt_full", "prompt"))
    with pytest.raises(InputError, match="row 1: prompt_full must be a text"):
        read_edit_bench(tmp_path)
