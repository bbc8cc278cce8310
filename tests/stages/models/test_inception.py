"""FID's Inception beside pytorch-fid's, and what is none."""

import pytest
import torch

from stages.models.hub import ModelError, locate
from stages.models.inception import load_inception
from tests.support.judges import TheirInception, random_inception, saved_inception
from tests.support.metric_inputs import pictures


@pytest.fixture(autouse=True)
def empty_cache():
    locate.cache_clear()


@pytest.fixture(scope="module")
def weights():
    return random_inception()


def test_features_are_those_of_pytorch_fid(weights, tmp_path):
    inception, theirs = load_inception(saved_inception(weights, tmp_path)), TheirInception(weights)
    for size in (48, 320):  # enlarged, and reduced
        found = inception.embed(pictures(2, size=size))
        assert found.shape == (2, 2048)
        assert found.std() > 0.1
        torch.testing.assert_close(found, theirs(pictures(2, size=size)), atol=1e-5, rtol=1e-5)


def test_counters_of_the_training_may_be_missing(weights, tmp_path):
    counted = [name for name in weights if name.endswith("num_batches_tracked")]
    assert counted
    model = saved_inception({name: value for name, value in weights.items() if name not in counted}, tmp_path)
    assert load_inception(model).embed(pictures(1)).shape == (1, 2048)


def test_torchvisions_own_inception_is_refused(tmp_path):
    model = saved_inception(random_inception(1000, aux_logits=True), tmp_path)
    with pytest.raises(ModelError, match=r"no fc\.weight of shape \(1008, 2048\), as the Inception of FID has$"):
        load_inception(model)


def test_missing_and_unknown_weights_are_refused(weights, tmp_path):
    name = "Mixed_7c.branch_pool.conv.weight"
    some = saved_inception({key: value for key, value in weights.items() if key != name}, tmp_path / "some")
    with pytest.raises(ModelError, match=rf"some: incomplete or damaged: ValueError: no {name} of shape \(192, 2048, 1, 1\)"):
        load_inception(some)
    more = saved_inception(weights | {"more": torch.zeros(1)}, tmp_path / "more")
    with pytest.raises(ModelError, match="more: incomplete or damaged: RuntimeError"):
        load_inception(more)


def test_the_released_pickle_is_not_loaded(tmp_path):
    model = saved_inception({}, tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pt_inception-2015-12-05-6726825d.pth")
    with pytest.raises(
        ModelError, match=r"only pickled weights \(pt_inception-2015-12-05-6726825d\.pth\), which are never loaded"
    ):
        load_inception(model)
