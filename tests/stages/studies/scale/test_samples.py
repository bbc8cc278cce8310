"""The speed of training and encoder beside their networks: what is compared, on tiny models."""

import pytest
import torch

from stages.core.paths import CORPUS, TRAINING_SET
from stages.studies.scale import samples
from stages.studies.scale.samples import Preloaded, measure_encoder, measure_samples
from stages.training.dataset import TrainingSet
from stages.training.encoder import encode_training_set
from tests.support.training import params_for, write_pictures, write_training_set


@pytest.fixture
def params(tools, workplace, monkeypatch):
    """Parameters of a short measurement, and its training set below the working directory."""
    monkeypatch.setattr(samples, "ROUNDS", 2)
    monkeypatch.setattr(samples, "STEPS", 4)
    monkeypatch.setattr(samples, "EVERY", 2)
    write_pictures(CORPUS)
    write_training_set(TRAINING_SET, {"00000": [0, 1, 2], "00001": [3, 4]})
    return params_for(tools.folder)


@pytest.mark.parametrize("measure", [measure_samples, measure_encoder])
def test_stage_and_networks_take_turns(params, measure):
    found = measure(params)
    assert len(found["stage"]) == len(found["bare"]) == 2
    ratios = [one / other for one, other in zip(found["stage"], found["bare"], strict=True)]
    assert 0 < found["ratio"]["lowest"] <= found["ratio"]["median"] <= found["ratio"]["highest"]
    assert found["ratio"]["highest"] == pytest.approx(max(ratios), rel=0.02)


def test_preloaded_batches_are_those_of_the_disk(params):
    config = params.train.model_copy(update={"steps": 4})
    encode_training_set(config, 8, params.execution)
    data = TrainingSet()
    preloaded = Preloaded(data, config)
    for rows in preloaded._batches:
        for name, value in data[rows].items():
            assert torch.equal(preloaded[rows][name], value)
