"""Batches in the order of the draws, the same from any number of reading processes."""

import shutil
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stages.core.errors import InputError
from stages.training.dataset import TrainingSet
from stages.training.loader import load_batches
from tests.support.training import params_for, values_of


def batches(tools, first: int = 0, rank: int = 0, world: int = 1, **changes) -> list:
    config = params_for(tools.folder, steps=6, batch=2, **changes).train
    return list(load_batches(tools.data, config, first, rank=rank, world=world))


def assert_same(found: list, wanted: list) -> None:
    assert [numbers for numbers, _ in found] == [numbers for numbers, _ in wanted]
    for (_, one), (_, other) in zip(found, wanted, strict=True):
        for name, value in values_of(one).items():
            assert torch.equal(value, values_of(other)[name]), name


@pytest.mark.parametrize("workers", [1, 3])
def test_reading_processes_change_nothing(tools, workers):
    assert_same(batches(tools, loader_workers=workers), batches(tools))


def test_every_draw_has_its_number(tools):
    assert [numbers for numbers, _ in batches(tools, accumulation=2)] == [[2 * number, 2 * number + 1] for number in range(12)]


@pytest.mark.parametrize("first", [2, 6, 10, 12])
def test_batches_can_begin_anywhere(tools, first):
    assert_same(batches(tools, first), batches(tools)[first // 2 :])


def test_several_trainings_share_the_draws(tools):
    """Batch k of process r of two is batch 2k + r of one process with twice the steps."""
    alone = batches(tools, accumulation=2)
    for rank in (0, 1):
        assert_same(batches(tools, rank=rank, world=2), alone[rank::2])


@pytest.mark.parametrize("workers", [0, 1])
def test_what_cannot_be_read_is_named_in_one_line(tools, tmp_path, workers):
    """Also where another process reads it."""
    shutil.copytree(tools.folder / "cache", tmp_path / "cache")
    for path in (tmp_path / "cache/texts").glob("*.text.npy"):
        np.save(path, np.load(path)[:0])
    damaged = SimpleNamespace(folder=tools.folder, data=TrainingSet(tmp_path / "cache"))
    with pytest.raises(InputError, match=r"^/\S+\.npy: lacks a text of the training set; [^\n]*$"):
        batches(damaged, loader_workers=workers)


def test_the_random_state_stays_as_it_is(tools):
    torch.manual_seed(0)
    wanted = torch.get_rng_state()
    list(islice(batches(tools, loader_workers=1), 2))
    assert torch.equal(torch.get_rng_state(), wanted)
