"""MagicBrush's folder, in both settings."""

import json

import numpy as np
import pytest

from stages.benchmarks import run_length
from stages.benchmarks.magic_brush import read_multi_turn, read_single_turn
from stages.core.errors import InputError
from tests.support.benchmark_folders import magic_brush
from tests.support.judges import box, smooth


def test_single_turns_start_from_what_the_person_had_made(tmp_path):
    cases = read_single_turn(magic_brush(tmp_path))
    assert [case.key for case in cases] == ["7/1", "7/2", "8/1"]
    assert all(case.is_scored and not case.after for case in cases)
    assert [case.instruction for case in cases] == ["make it 1", "make it 2", "make it 1"]
    second = cases[1]
    assert second.source().tobytes() == smooth(8).tobytes()
    assert second.target().tobytes() == smooth(9).tobytes()
    assert (second.source_prompt, second.prompt) == ("picture 7-output1.png", "picture 7-output2.png")
    assert second.local_prompt == "change 7-output2.png"


def test_a_mask_is_what_is_not_opaque(tmp_path):
    first, *_ = read_single_turn(magic_brush(tmp_path))
    np.testing.assert_array_equal(run_length.from_image(first.mask()), box())
    path = tmp_path / "images" / "7" / "7-mask1.png"
    smooth(7).save(path)
    with pytest.raises(InputError, match=r"7-mask1.png: must be transparent where the picture may change; no part is"):
        first.mask()


def test_multi_turns_follow_each_other_and_the_last_is_scored(tmp_path):
    cases = read_multi_turn(magic_brush(tmp_path))
    assert [(case.key, case.after, case.is_scored) for case in cases] == [
        ("7/1", "", False),
        ("7/2", "7/1", True),
        ("8/1", "", True),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"7": []}, "7: must be a list of turns"),
        ({"7": [5]}, "7: must be a list of turns"),
        ({"7": [{"input": "7-input.png"}]}, "7: turn 1: output must be a text"),
        ({"7": [{"input": "../../x", "output": "7-output1.png"}]}, "7: turn 1: input"),
        ({"9": [{"input": "7-input.png", "output": "7-output1.png"}]}, "9: must hold the descriptions"),
        ({}, "has no session"),
    ],
)
def test_damaged_sessions_are_refused_in_one_line(tmp_path, change, message):
    folder = magic_brush(tmp_path)
    (folder / "edit_sessions.json").write_text(json.dumps(change))
    with pytest.raises(InputError, match=message):
        read_single_turn(folder)


@pytest.mark.parametrize(
    ("kind", "told", "message"),
    [
        ("global", {}, "global_descriptions.json: 7: must hold the descriptions of its pictures"),
        ("local", {"7": "a"}, "local_descriptions.json: 7: must hold the descriptions of its pictures"),
        ("local", {"7": {}}, "7: turn 1: local description: 7-output1.png must be a text"),
    ],
)
def test_missing_descriptions_are_one_line(tmp_path, kind, told, message):
    folder = magic_brush(tmp_path)
    (folder / f"{kind}_descriptions.json").write_text(json.dumps(told))
    with pytest.raises(InputError, match=message):
        read_single_turn(folder)


def test_a_session_may_not_be_named_after_another_folder(tmp_path):
    folder = magic_brush(tmp_path)
    turn = {"input": "7-input.png", "output": "7-output1.png"}
    (folder / "edit_sessions.json").write_text(json.dumps({"..": [turn]}))
    for kind in ("global", "local"):
        (folder / f"{kind}_descriptions.json").write_text(json.dumps({"..": {"7-input.png": "a", "7-output1.png": "b"}}))
    with pytest.raises(InputError, match="leads out of the folder"):
        read_single_turn(folder)
