"""What metrics.json holds besides the scores."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from stages.comparison.cases import CaseSet
from stages.comparison.summary import mask_quality, summarise_masks
from tests.support.editing_inputs import case


def test_mask_quality_compares_predicted_with_true_masks():
    left = torch.zeros(3, 1, 32, 32)
    left[0, :, :, 16:] = 1  # as true
    left[1, :, :, 24:] = 1  # half of it
    mask = Image.fromarray(np.repeat([[0] * 16 + [255] * 16], 32, axis=0).astype(np.uint8))
    found = mask_quality([replace(case(), source_mask=mask)] * 3, left, "true")
    assert found == pytest.approx({"miou": (1 + 0.5 + 0) / 3, "not_found": 1, "area": 0.25, "true_area": 0.5})


def test_masks_that_are_not_true_are_told_apart():
    assert summarise_masks(CaseSet(cases=[], masks="true")) == {}
    assert summarise_masks(CaseSet(cases=[], masks="referee", left_out=2)) == {"masks": "referee", "left_out": 2}
