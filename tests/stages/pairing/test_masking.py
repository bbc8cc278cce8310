"""Which masks a training pair may have."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.core.params import Segment
from stages.pairing.masking import mask_image, mask_objection
from tests.support.strategies import masks_of_any_size, quick

shares = st.sampled_from([0.0, 1.0]) | st.floats(0, 1, width=32)


@quick
@given(mask=masks_of_any_size(), least=shares, most=shares)
def test_only_partial_masks_within_the_range_are_kept(mask, least, most):
    least, most = sorted([least, most])
    fields = {"model": {"name": "a"}, "batch": 1, "targets": "retrieved", "threshold": 0.5}
    fields |= {"min_area": least, "max_area": most}
    area = torch.from_numpy(mask).float().mean().item()
    reason = mask_objection(torch.from_numpy(mask), "source", Segment.model_validate(fields))
    assert (reason is None) == (0 < area < 1 and least <= area <= most)
    assert np.array_equal(np.asarray(mask_image(torch.from_numpy(mask))) == 255, mask)
