"""Sources that the base model draws, and the referee that masks them."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stages.comparison.systems import load_models
from stages.core.errors import InputError
from stages.core.files import read_json
from stages.corpus.samples import read_edits
from stages.models.segmenter import Segmenter, load_segmenter
from stages.studies import generated_cases
from stages.studies.generated_cases import NOT_FOUND, draw_sources, write_cases
from tests.support.compared import left_half


def test_a_source_without_its_thing_is_drawn_again(params, monkeypatch):
    seen: list[list[Image.Image]] = []

    def every_second(self: Segmenter, images, texts) -> torch.Tensor:
        seen.append(list(images))
        return left_half(images) * (torch.arange(len(images)) % 2 == 0).view(-1, 1, 1, 1)

    referee, base = load_segmenter(params.evaluate.referee), load_models(params).base
    monkeypatch.setattr(Segmenter, "probabilities", every_second)
    cases = list(read_edits(Path("data/evaluation/00000.tar")))
    drawn = draw_sources(cases, base, referee, params.segment.threshold, params.sampling, 0)
    assert [len(images) for images in seen] == [4, 2, 1]
    assert [case.key for case in drawn] == [case.key for case in cases]
    again = [np.asarray(images[-1], dtype=float) for images in seen]  # the last case, three times
    assert all(np.abs(one - other).mean() > 1 for one, other in pairwise(again))


def test_a_segmenter_of_a_system_is_no_referee(params):
    base = load_models(params).base
    same = params.evaluate.model_copy(update={"referee": params.evaluate.segmenter})
    with pytest.raises(InputError, match=r"has the weights of evaluate\.segmenter"):
        write_cases(params.model_copy(update={"evaluate": same}), base)


def test_a_case_never_found_is_left_out_and_counted(params, monkeypatch):
    def where_there_are_more_than_one(self: Segmenter, images, texts) -> torch.Tensor:
        found = left_half(images)
        return found if len(images) > 1 else found * 0

    monkeypatch.setattr(generated_cases, "DRAWS", 2)
    monkeypatch.setattr(Segmenter, "probabilities", where_there_are_more_than_one)
    params = params.model_copy(update={"evaluate": params.evaluate.model_copy(update={"batch": 3})})
    found = write_cases(params, load_models(params).base)
    assert read_json(Path("logs/sources.json"))["dropped"] == {NOT_FOUND: 1}
    assert (len(found.cases), found.left_out, found.masks) == (3, 1, "referee")
