"""Every system's edits of the cases: batches, shared settings, and what depends on the segmenter."""

from dataclasses import replace
from pathlib import Path

import torch

from stages.comparison.edits import edit_cases
from tests.support.recorder import Recorder
from tests.support.tiny_corpus import contents


def edit(cases, systems, editor, params, segmenter="segmenter"):
    return edit_cases(cases, systems, editor, segmenter, params, Path("edited"))


def test_edits_are_made_in_batches_and_reused(cases, params, editor):
    recorder = Recorder(1)
    made = edit(cases, {"one": recorder.system}, editor, params)
    assert recorder.batches == [["0", "1", "2"], ["3"]]
    assert made.pictures["one"].shape == (4, 3, 32, 32)
    assert made.masks.shape == (4, 1, 32, 32)
    assert (made.counts.done, made.counts.shards_done, made.counts.reused) == (4, 2, 0)
    before = contents(Path("edited"))
    again = edit(cases, {"one": recorder.system}, editor, params)
    assert recorder.batches == [["0", "1", "2"], ["3"]]
    assert torch.equal(again.pictures["one"], made.pictures["one"])
    assert (again.counts.done, again.counts.reused) == (0, 4)
    assert contents(Path("edited")) == before


def test_failures_are_kept_beside_the_pictures(cases, params, editor):
    recorder = Recorder(1, masks="predicted", failing={"1", "3"})
    made, again = (edit(cases, {"one": recorder.system}, editor, params) for _ in range(2))
    assert recorder.batches == [["0", "1", "2"], ["3"]]
    for found in (made, again):
        assert found.made["one"].failed.tolist() == [False, True, False, True]


def test_systems_with_equal_settings_share_their_edits(cases, params, editor):
    first, second = Recorder(1), Recorder(1)
    made = edit(cases, {"first": first.system, "second": second.system}, editor, params)
    assert second.batches == []
    assert made.pictures["second"] is made.pictures["first"]
    assert {path.name for path in Path("edited").iterdir()} == {"masks", "first"}


def test_edits_of_a_system_no_longer_compared_are_removed(cases, params, editor):
    edit(cases, {"one": Recorder(1).system, "two": Recorder(2).system}, editor, params)
    edit(cases, {"one": Recorder(1).system}, editor, params)
    assert {path.name for path in Path("edited").iterdir()} == {"masks", "one"}


def test_only_systems_with_predicted_masks_depend_on_the_segmenter(cases, params, editor):
    free, masked = Recorder(1), Recorder(2, masks="predicted")
    for segmenter in ("segmenter", "another"):
        edit(cases, {"free": free.system, "masked": masked.system}, editor, params, segmenter)
    assert (len(free.batches), len(masked.batches)) == (2, 4)


def test_a_system_is_prepared_before_every_batch(cases, params, editor):
    recorder, batches_before = Recorder(1), []
    system = replace(recorder.system, prepare=lambda: batches_before.append(len(recorder.batches)))
    edit(cases, {"one": system}, editor, params)
    assert batches_before == [0, 1]
