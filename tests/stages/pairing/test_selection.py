"""Which masks a training pair may have."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.pairing.selection import unusable
from tests.support.strategies import masks_of_any_size, quick

shares = st.sampled_from([0.0, 1.0]) | st.floats(0, 1, width=32)


@quick
@given(mask=masks_of_any_size(), least=shares, most=shares)
def test_only_partial_masks_within_the_range_are_kept(mask, least, most):
    least, most = sorted([least, most])
    area = mask.mean()
    small, large = unusable(np.array([area]), least, most)
    assert (not small[0] and not large[0]) == (0 < area < 1 and least <= area <= most)
