"""Held-out edits of the embedded world: true masks, and splits that share nothing with each other or with training."""

from pathlib import Path

import numpy as np
import pytest

from stages.corpus import held_out, world
from stages.corpus.drawing import render
from stages.corpus.held_out import draw_case, render_case
from stages.corpus.samples import EditSample, read_edits
from stages.ingest import ingest
from tests.support.samples import encoded, noise
from tests.support.sources import SIZE, kept, params_for, write_folder


def _cases(split: str) -> list[EditSample]:
    return [case for path in sorted(Path("data", split).glob("*.tar")) for case in read_edits(path)]


@pytest.mark.usefixtures("workplace")
def test_world_has_held_out_cases_with_true_masks():
    ingest(params_for({"kind": "openmoji", "images": 4, "cases": 10}))
    cases = _cases("evaluation")
    assert [case.key for case in cases] == [f"{index:09d}" for index in range(10)]
    assert [case.metadata["relation"] for case in cases] == ["noun"] * 6 + ["colour"] * 3 + ["size"]
    for case in cases:
        assert case.source.size == case.target.size == case.source_mask.size == (SIZE, SIZE)
        assert case.source_mask.getextrema() == case.target_mask.getextrema() == (0, 255)
        assert case.source_diff in case.source_caption
        assert case.target_diff in case.edit_prompt
    assert kept()[0].origin["caption"].startswith("a")
    ingest(params_for(write_folder([("a.png", "noise", encoded(noise(0)))])))
    assert [path.name for path in Path("data/evaluation").iterdir()] == ["README.txt"]
    ingest(params_for({"kind": "openmoji", "images": 4, "cases": 1}))
    assert not Path("data/evaluation/README.txt").exists()


def test_splits_and_training_share_no_combination():
    seen = {
        split: {
            (scene.noun, scene.scenery)
            for index in range(40)
            for case in [draw_case(3, index, split)]
            for scene in (case.source, case.target)
        }
        for split in ("evaluation", "validation")
    }
    trained = {(scene.noun, scene.scenery) for scene in (world.draw_scene(3, "train", index) for index in range(2000))}
    assert all(len(combinations) > 10 for combinations in (*seen.values(), trained))
    assert seen["evaluation"].isdisjoint(seen["validation"])
    assert trained.isdisjoint(seen["evaluation"] | seen["validation"])


@pytest.mark.usefixtures("workplace")
def test_validation_has_half_as_many_cases_as_evaluation():
    ingest(params_for({"kind": "openmoji", "images": 4, "cases": 20}))
    read = {split: _cases(split) for split in ("evaluation", "validation")}
    assert [len(cases) for cases in read.values()] == [20, 10]
    assert [case.metadata["relation"] for case in read["validation"]] == ["noun"] * 6 + ["colour"] * 3 + ["size"]
    pictures = [{case.source.tobytes() for case in cases} for cases in read.values()]
    assert pictures[0].isdisjoint(pictures[1])


def test_candidates_are_all_that_could_stand_there():
    for index in range(40):
        case, sample = draw_case(3, index), render_case(3, index, "evaluation", SIZE)
        noun = case.target.noun
        wanted = {
            "noun": list(world.nouns()),
            "colour": [f"{colour} {noun}" for colour in world.COLOURS],
            "size": [f"small {noun}", noun, f"large {noun}"],
        }
        assert sample.metadata["candidates"] == wanted[case.relation]
        assert {sample.source_diff, sample.target_diff} <= set(sample.metadata["candidates"])


def test_mask_of_a_size_change_covers_both_sizes():
    case, sample = draw_case(3, 9), render_case(3, 9, "evaluation", SIZE)
    before, after = (np.asarray(render(scene, SIZE)[1]) > 0 for scene in (case.source, case.target))
    assert case.relation == "size"
    assert before.sum() != after.sum()
    assert np.array_equal(np.asarray(sample.source_mask) > 0, before | after)
    assert np.array_equal(np.asarray(sample.target_mask) > 0, after)


def test_world_without_held_out_combinations_is_an_error(monkeypatch):
    (noun, *_), (scenery, *_) = world.nouns(), world.SCENERIES
    monkeypatch.setattr(held_out, "combinations", lambda *, held_out: ((noun, scenery),))
    with pytest.raises(RuntimeError, match="no held-out edit case 0 in 1000 attempts"):
        draw_case(0, 0)
