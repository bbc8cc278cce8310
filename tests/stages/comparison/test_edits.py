"""Every system's edits of the cases: batches, shared settings, predicted masks, and how long an edit takes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stages.comparison.cases import Case
from stages.comparison.edits import edit_cases
from stages.comparison.summary import mask_quality
from stages.comparison.systems import System
from stages.comparison.timing import time_edits
from stages.core.params import Params
from tests.support.editing_inputs import case, photo
from tests.support.tiny_corpus import contents, params_for


@pytest.fixture
def params(models, workplace) -> Params:
    return params_for(models)


@pytest.fixture
def cases(workplace) -> list[Case]:
    """Four cases, of which a batch holds three."""
    shard = workplace / "00000.tar"
    shard.write_bytes(b"the shard of all cases")
    return [Case(shard=shard, sample=replace(case(), key=str(number), source=photo(seed=number))) for number in range(4)]


class Recorder:
    """A system that paints its number, and records the keys and masks of every batch."""

    def __init__(self, number: int, masks=None) -> None:
        self.batches: list[list[str]] = []
        self.masks: list[torch.Tensor | None] = []

        def edit(samples, found, seed):
            assert seed == 0
            self.batches.append([sample.key for sample in samples])
            self.masks.append(found)
            return torch.full((len(samples), 3, 32, 32), number / 10)

        self.system = System(edit=edit, settings={"number": number}, masks=masks)


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


def test_each_system_gets_the_masks_it_edits_within(cases, params, editor):
    recorders = {str(masks): Recorder(number, masks=masks) for number, masks in enumerate((None, "true", "predicted"))}
    made = edit(cases, {name: recorder.system for name, recorder in recorders.items()}, editor, params)
    assert recorders["None"].masks == [None, None]
    assert torch.equal(torch.cat(recorders["predicted"].masks), made.masks)
    true = torch.cat(recorders["true"].masks)
    assert true[..., :16].max() == 0
    assert true[..., 16:].min() == 1


def test_the_time_of_an_edit_is_a_median_of_turns(cases, params, editor):
    recorders = {"one": Recorder(1), "two": Recorder(2, masks="predicted")}
    systems = {name: recorder.system for name, recorder in recorders.items()}
    seconds = time_edits(cases[0].sample, systems, editor, params)
    assert all(value > 0 for value in seconds.values())
    assert [recorder.batches for recorder in recorders.values()] == [[["0"]] * 5] * 2


def test_mask_quality_compares_predicted_with_true_masks():
    left = torch.zeros(3, 1, 32, 32)
    left[0, :, :, 16:] = 1  # as true
    left[1, :, :, 24:] = 1  # half of it
    mask = Image.fromarray(np.repeat([[0] * 16 + [255] * 16], 32, axis=0).astype(np.uint8))
    found = mask_quality([replace(case(), source_mask=mask)] * 3, left)
    assert found == pytest.approx({"miou": (1 + 0.5 + 0) / 3, "not_found": 1, "area": 0.25, "true_area": 0.5})
