"""The referee: which CLIPSeg may be it, and the regions that it finds."""

import shutil

import numpy as np
import pytest
import torch

from stages.core.params import Params
from stages.models.hub import ModelError
from stages.models.referee import check_referee, find_regions, load_referee
from stages.models.segmenter import Segmenter
from tests.support.samples import noise
from tests.support.tiny_corpus import params_for


def with_models(models, precision: str = "fp32", **names: str) -> Params:
    """Parameters in a precision that name models by their folders: referee, segmenter (of systems), masker (of pairs)."""
    params = params_for(models)
    values = params.model_dump(mode="json") | {"precision": precision}
    values["segment"]["model"]["name"] = names.pop("masker", params.segment.model.name)
    for role, name in names.items():
        values["evaluate"][role]["name"] = name
    return Params.model_validate(values)


@pytest.fixture
def copied(models, tmp_path) -> str:
    """The weights of the segmenter in a folder of another name."""
    return str(shutil.copytree(models.segmenter.name, tmp_path / "copied"))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(("role", "key"), [("segmenter", "evaluate.segmenter"), ("masker", "segment.model")])
def test_the_weights_of_a_segmenter_are_refused(models, copied, role, key, precision):
    other = {"segmenter": models.referee.name, "masker": models.referee.name} | {role: models.segmenter.name}
    reason = rf"^evaluate\.referee\.name = '.*copied': has the weights of {key} = '.*segmenter'; name a CLIPSeg that "
    for refuse in (check_referee, load_referee):
        with pytest.raises(ModelError, match=reason):
            refuse(with_models(models, precision, referee=copied, **other))


def test_other_weights_are_allowed(models, copied):
    assert load_referee(with_models(models))
    check_referee(with_models(models, referee=copied, segmenter=models.referee.name, masker=models.referee.name))


def test_an_absent_referee_is_reported_by_its_loader(models):
    absent = with_models(models, referee="nowhere")
    check_referee(absent)
    with pytest.raises(ModelError, match=r"^evaluate\.referee\.name = 'nowhere': neither a folder"):
        load_referee(absent)


def test_regions_are_neither_empty_nor_the_whole_picture(models, monkeypatch):
    found = torch.zeros(4, 1, 32, 32)
    found[0, 0, 3:5, 7] = 0.5  # the threshold itself
    found[0, 0, 9, 9] = 0.49
    found[2] = 1.0
    found[3] = 1.0
    found[3, 0, 31, 31] = 0.1
    monkeypatch.setattr(Segmenter, "probabilities", lambda *_: found)
    first, empty, full, last = find_regions(load_referee(with_models(models)), [noise(0)] * 4, ["cat"] * 4, 0.5)
    assert empty is full is None
    assert (first.mode, first.size, first.getbbox()) == ("L", (32, 32), (7, 3, 8, 5))
    assert np.unique(np.asarray(first)).tolist() == [0, 255]
    assert (np.asarray(last) == 0).sum() == 1
