"""Resuming: a training that was interrupted ends with the bytes of one that was not."""

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file, save_file
from torch import Tensor

from stages.core.errors import InputError
from stages.training.workplace import Workplace
from tests.support.training import EVERY, STEPS, assert_same, changed, interrupt_at, logs, params_for, place, tune


@pytest.fixture(scope="module")
def reference(tools, tmp_path_factory):
    """The weights and the workplace of a training that was never interrupted."""
    workplace = place(tmp_path_factory.mktemp("reference"))
    return tune(tools, workplace), workplace


def resume(tools, reference, workplace: Workplace, done: int) -> None:
    """Resume after ``done`` steps, and assert that the weights, losses and checkpoints are those of the reference."""
    final, straight = reference
    steps = []
    found = tune(tools, workplace, on_step=lambda step, log, unet: steps.append(step))
    assert steps == list(range(done, STEPS))
    assert_same(found, final)
    assert workplace.losses.read_bytes() == straight.losses.read_bytes()
    for path in straight.checkpoints():
        assert (workplace.folder / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("every", [1, 10])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
# Steps 0 and 1 are before the first checkpoint; 2 and 5 are logged while their checkpoint is still to be written.
@pytest.mark.parametrize("last", [0, 2, 3, 5, 6])
def test_after_an_interruption_at_a_step(tools, reference, tmp_path, last, error, every):
    workplace = place(tmp_path)
    with pytest.raises(error):
        tune(tools, workplace, on_step=interrupt_at(last, error), log_every=every)
    done = last // EVERY * EVERY
    assert workplace.checkpoints()[-1:] == ([workplace.checkpoint(done)] if done else [])
    resume(tools, reference, workplace, done)


def test_after_an_interruption_right_after_a_checkpoint(tools, reference, tmp_path):
    workplace = place(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        tune(tools, workplace, on_checkpoint=interrupt_at(3))
    resume(tools, reference, workplace, 3)


def test_after_a_kill_within_log_line_and_checkpoint(tools, reference, tmp_path):
    workplace = place(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        tune(tools, workplace, on_step=interrupt_at(4))
    with workplace.losses.open("a") as file:
        file.write('{"step": 5, "raw/noi')
    aside = workplace.folder / f"{workplace.checkpoint(6).name}.partial"
    aside.mkdir()
    (aside / ".tmp1234").write_bytes(b"half")
    resume(tools, reference, workplace, 3)


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_resumed_training_keeps_teacher_and_decoded_samples(tools, tmp_path, precision, request):
    """The teacher stays the base, and the same samples are decoded, as if there had been no interruption."""
    AcceleratorState._reset_state()  # accelerate knows one precision a process
    request.addfinalizer(AcceleratorState._reset_state)
    request.addfinalizer(tools.diffusion.vae.disable_gradient_checkpointing)
    losses = params_for(tools.folder).train.losses.model_dump(mode="json") | {"noise": "guided", "picture_share": 0.5}
    changes = {"losses": losses, "precision": precision, "gradient_checkpointing": True}

    straight = tune(tools, place(tmp_path, "straight"), **changes)
    assert changed(tools.diffusion.unet.state_dict(), straight)
    with pytest.raises(KeyboardInterrupt):
        tune(tools, place(tmp_path, "stopped"), on_step=interrupt_at(4), **changes)
    assert_same(tune(tools, place(tmp_path, "stopped"), **changes), straight)


def test_again_and_again(tools, reference, tmp_path):
    workplace = place(tmp_path)
    for last in (4, 4, 6):
        with pytest.raises(KeyboardInterrupt):
            tune(tools, workplace, on_step=interrupt_at(last))
    resume(tools, reference, workplace, 6)


def test_more_steps_resume_from_the_last_checkpoint(tools, reference, tmp_path):
    workplace = place(tmp_path)
    tune(tools, workplace, steps=4)
    resume(tools, reference, workplace, 4)


def test_fewer_steps_than_done_are_trained_again(tools, tmp_path):
    wanted = tune(tools, place(tmp_path, "fresh"), steps=2)
    workplace = place(tmp_path)
    tune(tools, workplace)
    assert_same(tune(tools, workplace, steps=2), wanted)
    assert [row["step"] for row in logs(workplace)] == [0, 1]


def test_a_resumed_checkpoint_is_reported_again(tools, tmp_path):
    workplace, reported = place(tmp_path), []
    tune(tools, workplace, steps=4)
    tune(tools, workplace, on_checkpoint=lambda step, path: reported.append((step, path)))
    assert reported == [(step, workplace.checkpoint(step)) for step in (4, 6, 7)]


def test_checkpoint_of_another_training_is_not_resumed(tools, reference, tmp_path):
    tune(tools, Workplace(folder=tmp_path / "a", fingerprint="fedcba9876543210fedc"), seed=1)
    resume(tools, reference, place(tmp_path), 0)


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
def test_a_damaged_checkpoint_is_named_and_can_be_removed(tools, reference, tmp_path, damage):
    workplace = place(tmp_path)
    tune(tools, workplace, steps=6)
    damage(workplace.checkpoint(6))
    message = r"\.00000006\.safetensors: damaged: .*; remove it to resume from the checkpoint before it"
    with pytest.raises(InputError, match=message):
        tune(tools, workplace)
    workplace.checkpoint(6).unlink()
    resume(tools, reference, workplace, 3)


def test_lack_of_memory_is_not_reported_as_damage(tools, tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> Tensor:
        raise torch.OutOfMemoryError

    workplace = place(tmp_path)
    tune(tools, workplace, steps=3)
    monkeypatch.setattr("stages.training.checkpoints.safe_open", fail)
    with pytest.raises(torch.OutOfMemoryError):
        tune(tools, workplace)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"step": 1, "tot', "line 2 is damaged"),
        (b'{"step": 1, "total": "much"}', "line 2 is damaged"),
        (b'{"step": 0, "total": 1.0}', "line 2 is damaged"),
        (b"[1]", "line 2 is damaged"),
        (b"\xff", "line 2 is damaged"),
        (None, "has 1 of 3 steps"),
    ],
)
def test_a_damaged_log_is_named(tools, tmp_path, line, message):
    workplace = place(tmp_path)
    tune(tools, workplace, steps=3)
    first, _, third = workplace.losses.read_bytes().splitlines()
    workplace.losses.write_bytes(b"\n".join([first] if line is None else [first, line, third]))
    with pytest.raises(InputError, match=rf"\.losses\.jsonl: {message}; remove .* to start over"):
        tune(tools, workplace)
