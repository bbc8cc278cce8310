"""PIE-Bench's folder."""

import json

import numpy as np
import pytest

from stages.benchmarks import run_length
from stages.benchmarks.pie_bench import KINDS, read_pie_bench
from stages.core.errors import InputError
from tests.support.benchmark_folders import entry, pie_bench
from tests.support.judges import box


def test_a_case_has_its_words_picture_and_mask(tmp_path):
    (case,) = read_pie_bench(pie_bench(tmp_path, a=entry()))
    assert (case.key, case.kind) == ("a", "change material")
    assert case.source_prompt == "a slanted rusty bicycle on the road"
    assert case.prompt == "a slanted shiny red bicycle on the road"
    assert (case.source_term, case.term) == ("rusty", "shiny red")
    assert case.instruction == "Polish the bicycle"
    assert case.source().size == (64, 64)
    np.testing.assert_array_equal(run_length.from_image(case.mask()), box())


def test_blended_words_name_what_no_bracket_marks(tmp_path):
    prompts = {"original_prompt": "a cat", "editing_prompt": "a dog", "blended_word": "cat dog"}
    (case,) = read_pie_bench(pie_bench(tmp_path, a=entry(**prompts)))
    assert (case.source_term, case.term) == ("cat", "dog")


def test_every_kind_of_edit_is_known_and_no_other(tmp_path):
    entries = {kind: entry(editing_type_id=kind) for kind in KINDS}
    assert [case.kind for case in read_pie_bench(pie_bench(tmp_path, **entries))] == list(KINDS.values())
    with pytest.raises(InputError, match="editing_type_id = 10: allowed are 0, 1, 2"):
        read_pie_bench(pie_bench(tmp_path, a=entry(editing_type_id="10")))


@pytest.mark.parametrize(
    "path",
    ["../secret.png", "/etc/passwd", "1_change/../../secret.png", "link.png", "", None, 5, "a\0b", "x" * 5000, "1_change"],
)
def test_no_path_leaves_the_folder(tmp_path, path):
    folder = pie_bench(tmp_path / "benchmark", a=entry(path))
    (tmp_path / "secret.png").write_bytes((folder / "annotation_images" / "1_change" / "a.jpg").read_bytes())
    (folder / "annotation_images" / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(InputError, match=r"mapping_file.json: a: image_path") as caught:
        read_pie_bench(folder)
    assert "\n" not in str(caught.value)


def test_a_linked_folder_of_pictures_may_not_lead_outside(tmp_path):
    folder = pie_bench(tmp_path / "benchmark", a=entry("a.jpg"))
    (folder / "annotation_images").rename(tmp_path / "elsewhere")
    (folder / "annotation_images").symlink_to(tmp_path / "elsewhere" / "1_change")
    with pytest.raises(InputError, match="leads out of the folder"):
        read_pie_bench(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON"),
        (b"[1]", "must hold one JSON object"),
        (b"{}", "has no case"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff", "not JSON"),
        (b'{"a": 1}', "a: must be a JSON object"),
        (json.dumps({"a": entry(editing_prompt=" ")}).encode(), "a: editing_prompt must be a text that is not blank"),
        (json.dumps({"a\n\x1b[2J": entry(original_prompt=None)}).encode(), r"a\\n\\x1b\[2J: original_prompt must be"),
    ],
)
def test_a_damaged_mapping_file_is_refused_in_one_line(tmp_path, content, message):
    pie_bench(tmp_path)
    (tmp_path / "mapping_file.json").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_pie_bench(tmp_path)


def test_a_missing_mapping_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"mapping_file.json: no such file"):
        read_pie_bench(tmp_path)


def test_a_damaged_mask_names_its_case(tmp_path):
    (case,) = read_pie_bench(pie_bench(tmp_path, a=entry(mask=[4096, 1])))
    with pytest.raises(InputError, match="a: mask: a run starts at 4096; the picture has 4096 pixels"):
        case.mask()


def test_a_file_that_is_no_picture_is_refused(tmp_path):
    folder = pie_bench(tmp_path, a=entry())
    (folder / "annotation_images" / "1_change" / "a.jpg").write_text("no picture")
    (case,) = read_pie_bench(folder)
    with pytest.raises(InputError, match="not an image"):
        case.source()
