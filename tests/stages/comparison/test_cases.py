"""Cases: how a folder is split between validation and evaluation, and whose masks they have."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.comparison.cases import DIVIDED, read_cases
from stages.core.errors import InputError
from stages.core.params import Params
from stages.core.paths import EVALUATION, HELD_OUT, TRAINING_SET
from stages.corpus.corpus import Corpus
from stages.corpus.samples import read_edits
from stages.models.segmenter import Segmenter
from stages.pairing.training_set import read_pairs, write_pairs
from tests.support.compared import left_half, write_cases
from tests.support.tiny_corpus import masks_of, params_for, samples_of, write_training_pairs


def test_a_shared_folder_is_split_without_a_common_image(models, workplace):
    params = write_training_pairs(
        models,
        shards=4,
        retrieve={"held_out": 1.0, "max_uses": 1},
        evaluate={"cases": str(HELD_OUT), "validation": str(HELD_OUT), "max_cases": 100},
    )
    images = {}
    for split in ("evaluation", "validation"):
        cases = read_cases(params, split).samples
        images[split] = {key for case in cases for key in (case.key, case.metadata["target_key"])}
    assert images["evaluation"].isdisjoint(images["validation"])


def test_pairs_beyond_those_that_are_divided_are_not_read(models, workplace):
    folders = {"cases": str(HELD_OUT), "validation": str(HELD_OUT), "max_cases": 1}
    params = write_training_pairs(models, shards=6, retrieve={"held_out": 1.0, "max_uses": 1}, evaluate=folders)
    *few, last = sorted(HELD_OUT.glob("*.parquet"))
    assert sum(len(read_pairs(table)) for table in few) >= DIVIDED
    cases = [read_cases(params, split) for split in ("evaluation", "validation")]
    last.write_bytes(b"damaged")
    assert [read_cases(params, split) for split in ("evaluation", "validation")] == cases
    assert all(len(each.cases) == 1 for each in cases)


@pytest.mark.parametrize("validation", [HELD_OUT, EVALUATION])
def test_only_the_cases_that_are_used_are_decoded(models, workplace, monkeypatch, validation):
    params = write_training_pairs(
        models,
        shards=4,
        retrieve={"held_out": 1.0, "max_uses": 1},
        evaluate={"cases": str(HELD_OUT), "validation": str(validation), "max_cases": 2},
    )
    read, picture = [], Corpus.picture
    monkeypatch.setattr(Corpus, "picture", lambda corpus, place: read.append(place.key) or picture(corpus, place))
    cases = read_cases(params).samples
    assert len(cases) == 2
    assert read == [key for case in cases for key in (case.key, case.metadata["target_key"])]


def test_cases_stay_the_same_when_others_are_added(models, workplace):
    settings = {"retrieve": {"held_out": 1.0, "max_uses": 1}, "evaluate": {"cases": str(HELD_OUT), "max_cases": 2}}
    params = write_training_pairs(models, **settings)
    before = read_cases(params).digest
    rows = read_pairs(HELD_OUT / "00000.parquet")
    write_pairs(HELD_OUT / "00000.parquet", rows[:2])
    assert read_cases(params).digest == before
    moved = rows[1].target
    write_pairs(
        HELD_OUT / "00000.parquet", [rows[0], replace(rows[1], target_offset=moved.offset, target_length=moved.length + 1)]
    )
    assert read_cases(params).digest == before
    write_pairs(HELD_OUT / "00000.parquet", [rows[0], replace(rows[1], edit_prompt="another")])
    assert read_cases(params).digest != before


def changed(params: Params, section: str, **values) -> Params:
    return params.model_copy(update={section: getattr(params, section).model_copy(update=values)})


def test_pairs_have_the_masks_of_the_referee(models, workplace):
    params = write_training_pairs(models)
    predicted = {sample.key: np.asarray(sample.source_mask) > 0 for sample in samples_of(TRAINING_SET)}
    found = read_cases(params)
    assert (found.masks, found.left_out, len(found.cases)) == ("referee", 0, 3)
    for case in found.samples:
        mask = np.asarray(case.source_mask)
        assert set(np.unique(mask)) == {0, 255}
        expected = masks_of(models, case.source, case.source_diff, "referee") >= models.threshold
        assert np.mean((mask > 0) != expected) < 0.005  # another shape of batch may round another way at the threshold
        assert np.mean((mask > 0) != predicted[case.key]) > 0.1
        assert case.target_mask is case.source_mask  # none of the other segmenter is left
        assert not [name for name in case.metadata if "mask" in name]


def test_a_tar_keeps_its_masks_and_needs_no_referee(models, workplace):
    write_cases(Path("data/own"), 3)
    params = params_for(models, evaluate={"cases": "data/own", "referee": {"name": models.segmenter.name}})
    found = read_cases(params)
    assert (found.masks, found.left_out) == ("true", 0)
    for case, given in zip(found.samples, read_edits(Path("data/own/00000.tar")), strict=True):
        assert case == given


def test_pairs_without_a_usable_mask_are_left_out_and_counted(models, workplace, monkeypatch, capsys):
    params = write_training_pairs(models, shards=2)
    before = read_cases(params)
    empty, full = before.cases[0].sample.source, before.cases[2].sample.source

    def probabilities(self: Segmenter, images, texts) -> torch.Tensor:
        halves = left_half(images)
        for place, picture in enumerate(images):
            if picture in (empty, full):
                halves[place] = float(picture == full)
        return halves

    monkeypatch.setattr(Segmenter, "probabilities", probabilities)
    assert len(before.cases) == 4
    capsys.readouterr()
    found = read_cases(params)
    line = "2 of 4 pairs of data/training left out: the referee finds nothing, or the whole picture\n"
    assert capsys.readouterr().out == line
    assert found.left_out == 2
    assert [case.sample.key for case in found.cases] == [before.cases[place].sample.key for place in (1, 3)]
    assert found.digest != before.digest
    assert read_cases(params) == found

    monkeypatch.setattr(Segmenter, "probabilities", lambda _, images, __: left_half(images) * 0)
    with pytest.raises(InputError, match=r"^evaluate\.referee\.name = .* of all 4 pairs of data/training; change segment\."):
        read_cases(params)


def test_the_digest_has_the_referee_but_not_the_segmenter(models, workplace):
    params = write_training_pairs(models)
    before = read_cases(params).digest
    other = shutil.copytree(models.referee.name, workplace / "other")
    (other / "README.md").write_text("other bytes")
    assert read_cases(changed(params, "evaluate", referee=params.evaluate.referee.in_folder(other, "fp32"))).digest != before
    assert read_cases(changed(params, "segment", threshold=models.threshold + 0.01)).digest != before
    rows = read_pairs(TRAINING_SET / "00000.parquet")
    swapped = [replace(row, packed_source_mask=row.packed_target_mask, source_mask_area=row.target_mask_area) for row in rows]
    write_pairs(TRAINING_SET / "00000.parquet", swapped)
    assert read_cases(params).digest == before


def test_pairs_are_not_masked_by_a_segmenter_of_a_system(models, workplace):
    params = write_training_pairs(models)
    copy = shutil.copytree(models.segmenter.name, workplace / "of another name")
    with pytest.raises(InputError, match=r"of another name: has the weights of evaluate\.segmenter = "):
        read_cases(changed(params, "evaluate", referee=params.evaluate.referee.in_folder(copy, "fp32")))
