"""Damaged checkpoints; test_resume.py has whole ones."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from stages.core.errors import InputError
from tests.support.training import check_resumed, place, tune


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(b""),
        lambda path: save_file(load_file(path), path),  # without the number of steps
        lambda path: save_file({"modules/trained/stranger": torch.zeros(1)}, path, metadata={"step": "6"}),
    ],
    ids=["cut", "empty", "no step", "other modules"],
)
def test_a_damaged_checkpoint_is_named_and_can_be_removed(tools, uninterrupted, tmp_path, damage):
    workplace = place(tmp_path)
    tune(tools, workplace, steps=6)
    damage(workplace.checkpoint(6))
    message = r"\.00000006\.safetensors: damaged: .*; remove it to resume from the checkpoint before it"
    with pytest.raises(InputError, match=message):
        tune(tools, workplace)
    workplace.checkpoint(6).unlink()
    check_resumed(tools, uninterrupted, workplace, 3)


def test_lack_of_memory_is_not_reported_as_damage(tools, tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> Tensor:
        raise torch.OutOfMemoryError

    workplace = place(tmp_path)
    tune(tools, workplace, steps=3)
    monkeypatch.setattr("stages.training.checkpoints.safe_open", fail)
    with pytest.raises(torch.OutOfMemoryError):
        tune(tools, workplace)
