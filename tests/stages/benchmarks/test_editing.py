"""Chunks of cases, and edits that follow edits."""

from collections.abc import Collection
from dataclasses import replace
from functools import partial

import pytest
import torch

from stages.benchmarks.editing import chunks, edit_in_chunks
from stages.benchmarks.magic_brush import read_multi_turn
from stages.comparison.edited import Edited
from stages.comparison.systems import Models, System
from stages.core.errors import InputError
from stages.models.tensors import to_images, to_tensor
from tests.support.benchmark_folders import magic_brush
from tests.support.tiny_corpus import params_for


@pytest.fixture
def cases(workplace):
    return read_multi_turn(magic_brush(workplace / "magic_brush"))


@pytest.fixture
def params(models):
    return params_for(models, ingest={"size": 32}, evaluate={"batch": 2})


@pytest.fixture
def loaded(editor):
    return Models(base=editor, instructed=editor.diffusion, tuned=editor, identities={})


def system(change, name: str, seen: list[str] | None = None, failing: Collection[str] = ()) -> System:
    def edit(samples, _, __):
        if seen is not None:
            seen.extend(sample.key for sample in samples)
        failed = torch.tensor([sample.key in failing for sample in samples])
        return Edited(pictures=change(to_tensor([sample.source for sample in samples])), failed=failed)

    return System(edit=edit, settings={"name": name}, masks=None)


def test_cases_that_follow_each_other_stay_in_one_chunk(cases):
    one, two, three = cases
    assert [[case.key for case in part] for part in chunks(cases, 1)] == [["7/1", "7/2"], ["8/1"]]
    assert [len(part) for part in chunks([one, two, three, one], 3)] == [3, 1]
    assert [len(part) for part in chunks(cases, 10)] == [3]


def test_a_later_turn_starts_from_the_systems_own_edit(cases, params, loaded, tmp_path):
    systems = {"inverted": system(lambda pictures: 1 - pictures, "inverted"), "dark": system(lambda p: p / 2, "dark")}
    (chunk,) = edit_in_chunks(cases, systems, loaded, params, tmp_path / "edits")
    assert [case.key for case in chunk.scored] == ["7/2", "8/1"]
    sources = [to_images(to_tensor([case.at(32).sample.source]))[0] for case in cases]
    assert chunk.edits["inverted"]["7/2"].tobytes() == sources[0].tobytes()  # inverted twice
    quarter = to_tensor([chunk.edits["dark"]["7/2"]]) - to_tensor([sources[0]]) / 4
    assert quarter.abs().max() < 0.01
    assert torch.allclose(to_tensor([chunk.edits["dark"]["8/1"]]), to_tensor([sources[2]]) / 2, atol=0.01)


def test_failed_edits_are_those_of_each_system_and_turn(cases, params, loaded, tmp_path):
    systems = {
        "one": system(lambda pictures: pictures, "one", failing={"7/1", "8/1"}),
        "two": system(lambda pictures: pictures, "two", failing={"7/2"}),
    }
    (chunk,) = edit_in_chunks(cases, systems, loaded, params, tmp_path / "edits")
    assert chunk.failed == {"one": {"7/1", "8/1"}, "two": {"7/2"}}


def test_only_a_changed_case_is_edited_again(cases, params, loaded, tmp_path):
    seen: list[str] = []
    systems = {"dark": system(lambda pictures: pictures / 2, "dark", seen)}
    first = [chunk.edits for chunk in edit_in_chunks(cases, systems, loaded, params, tmp_path / "edits")]
    assert sorted(seen) == ["7/1", "7/2", "8/1"]
    seen.clear()
    again = [chunk.edits for chunk in edit_in_chunks(cases, systems, loaded, params, tmp_path / "edits")]
    assert seen == []
    assert again[0]["dark"]["7/2"].tobytes() == first[0]["dark"]["7/2"].tobytes()
    changed = [*cases[:2], replace(cases[2], prompt="something else")]
    list(edit_in_chunks(changed, systems, loaded, params, tmp_path / "edits"))
    assert "8/1" in seen
    assert "7/2" not in seen


def test_edits_of_systems_not_asked_for_are_kept(cases, params, loaded, tmp_path):
    seen: list[str] = []
    dark = {"dark": system(lambda pictures: pictures / 2, "dark", seen)}
    inverted = {"inverted": system(lambda pictures: 1 - pictures, "inverted")}
    for systems in (dark, inverted, dark):
        list(edit_in_chunks(cases, systems, loaded, params, tmp_path / "edits"))
    assert sorted(seen) == ["7/1", "7/2", "8/1"]


def test_a_system_is_prepared_before_its_edits_in_every_round(cases, params, loaded, tmp_path):
    seen: list[str] = []
    systems = {
        name: replace(system(lambda pictures: pictures, name, seen), prepare=partial(seen.append, name))
        for name in ("one", "two")
    }
    list(edit_in_chunks(cases, systems, loaded, params, tmp_path / "edits"))
    first, second = ["7/1", "8/1"], ["7/2"]
    assert seen == ["one", *first, "two", *first, "one", *second, "two", *second]


def test_a_case_may_not_follow_one_that_is_not_there(cases, params, loaded, tmp_path):
    lost = [replace(cases[0], after="9/1")]
    with pytest.raises(InputError, match="7/1: follows 9/1, which is no case before it"):
        list(edit_in_chunks(lost, {"dark": system(lambda pictures: pictures, "a")}, loaded, params, tmp_path / "edits"))
