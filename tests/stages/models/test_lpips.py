"""LPIPS beside torchmetrics'."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.models.hub import ModelError, locate
from stages.models.lpips import load_lpips
from tests.support.judges import saved_lpips, their_lpips
from tests.support.metric_inputs import pictures


@pytest.fixture(autouse=True)
def empty_cache():
    locate.cache_clear()


def test_distance_is_that_of_torchmetrics(tmp_path):
    theirs = their_lpips()
    ours = load_lpips(saved_lpips(theirs, tmp_path))
    first, second = pictures(2, seed=1, size=64), pictures(2, seed=2, size=64)
    expected = theirs(first, second, normalize=True).flatten()
    found = sum(each.mean(dim=(1, 2, 3)) for each in ours(first, second))
    assert expected.min() > 0.01
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_missing_weights_are_refused(tmp_path):
    model = saved_lpips(their_lpips(), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["lin3.model.1.weight"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="incomplete or damaged: RuntimeError"):
        load_lpips(model)
