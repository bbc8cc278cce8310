"""Hypothesis strategies and settings that several property tests use."""

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

quick = settings(max_examples=60, derandomize=True, deadline=None, database=None)
sides = st.integers(1, 12)


def masks(height: int, width: int) -> st.SearchStrategy[np.ndarray]:
    """Boolean masks, among them the empty one and the full one."""
    some = arrays.arrays(bool, (height, width))
    return st.one_of(st.just(np.zeros((height, width), bool)), st.just(np.ones((height, width), bool)), some)


@st.composite
def masks_of_any_size(draw) -> np.ndarray:
    return draw(masks(draw(sides), draw(sides)))


def as_tensor(mask: np.ndarray) -> torch.Tensor:
    """Return a mask as a (1, 1, height, width) tensor of floats."""
    return torch.from_numpy(mask).float()[None, None]
