"""A whole training that others are compared with, and a batch."""

import numpy as np
import pytest

from stages.training.dataset import Batch
from tests.support.equations import tensor
from tests.support.training import place, tune


@pytest.fixture(scope="package")
def uninterrupted(tools, tmp_path_factory):
    """The weights and the workplace of a training that was never interrupted."""
    workplace = place(tmp_path_factory.mktemp("reference"))
    return tune(tools, workplace), workplace


@pytest.fixture(scope="package")
def batch(tools) -> Batch:
    """Three samples with rectangles for masks, as the training set returns them."""
    rng = np.random.default_rng(0)
    source_mask, target_mask = np.zeros((3, 1, 32, 32)), np.zeros((3, 1, 32, 32))
    for row in range(3):
        source_mask[row, 0, 4 : 12 + 4 * row, 2:22] = 1
        target_mask[row, 0, 8:24, 6 : 18 + 2 * row] = 1
    return Batch(
        z1=tensor(rng.standard_normal((3, 4, 16, 16))),
        z2=tensor(rng.standard_normal((3, 4, 16, 16))),
        m1=tensor(source_mask[:, :, ::2, ::2]),
        m2=tensor(target_mask[:, :, ::2, ::2]),
        source_mask=tensor(source_mask),
        target_mask=tensor(target_mask),
        target=tensor(rng.random((3, 3, 32, 32))),
        prompt=tools.diffusion.embed_prompts(["a red dog", "a cat", "a blue car"]),
        clip_prompt=tools.clip.embed_texts(["a red dog", "a cat", "a blue car"]),
        clip_diff=tools.clip.embed_texts(["red dog", "cat", "blue car"]),
    )
