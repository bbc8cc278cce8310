"""Resuming: a training that was interrupted ends with the bytes of one that was not."""

import pytest

from tests.support.training import EVERY, assert_same, changed, check_resumed, interrupt_at, logs, params_for, place, tune


@pytest.mark.parametrize("every", [1, 10])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
# Steps 0 and 1 are before the first checkpoint; 2 and 5 are logged while their checkpoint is still to be written.
@pytest.mark.parametrize("last", [0, 2, 3, 5, 6])
def test_after_an_interruption_at_a_step(tools, uninterrupted, tmp_path, last, error, every):
    workplace = place(tmp_path)
    with pytest.raises(error):
        tune(tools, workplace, on_step=interrupt_at(last, error), log_every=every)
    done = last // EVERY * EVERY
    assert workplace.checkpoints()[-1:] == ([workplace.checkpoint(done)] if done else [])
    check_resumed(tools, uninterrupted, workplace, done)


def test_after_an_interruption_right_after_a_checkpoint(tools, uninterrupted, tmp_path):
    workplace = place(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        tune(tools, workplace, on_checkpoint=interrupt_at(3))
    check_resumed(tools, uninterrupted, workplace, 3)


def test_after_a_kill_within_log_line_and_checkpoint(tools, uninterrupted, tmp_path):
    workplace = place(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        tune(tools, workplace, on_step=interrupt_at(4))
    with workplace.losses.open("a") as file:
        file.write('{"step": 5, "raw/noi')
    aside = workplace.folder / f"{workplace.checkpoint(6).name}.partial"
    aside.mkdir()
    (aside / ".tmp1234").write_bytes(b"half")
    check_resumed(tools, uninterrupted, workplace, 3)


@pytest.mark.parametrize("precision", ["no", "fp16", "bf16"])
def test_resumed_training_keeps_teacher_and_decoded_samples(tools, tmp_path, precision, request):
    """The teacher stays the base, and the same samples are decoded, as if there had been no interruption."""
    request.addfinalizer(tools.diffusion.vae.disable_gradient_checkpointing)
    losses = params_for(tools.folder).train.losses.model_dump(mode="json") | {"noise": "guided", "picture_share": 0.5}
    changes = {"losses": losses, "precision": precision, "gradient_checkpointing": True}

    straight = tune(tools, place(tmp_path, "straight"), **changes)
    assert changed(tools.diffusion.unet.state_dict(), straight)
    with pytest.raises(KeyboardInterrupt):
        tune(tools, place(tmp_path, "stopped"), on_step=interrupt_at(4), **changes)
    assert_same(tune(tools, place(tmp_path, "stopped"), **changes), straight)


def test_a_falling_rate_resumes_where_it_was(tools, tmp_path):
    straight = tune(tools, place(tmp_path, "straight"), learning_rate_schedule="cosine")
    with pytest.raises(KeyboardInterrupt):
        tune(tools, place(tmp_path, "stopped"), on_step=interrupt_at(4), learning_rate_schedule="cosine")
    assert_same(tune(tools, place(tmp_path, "stopped"), learning_rate_schedule="cosine"), straight)
    rates = [log["learning_rate"] for log in logs(place(tmp_path, "stopped"))]
    assert rates == [log["learning_rate"] for log in logs(place(tmp_path, "straight"))]
    assert rates[2] > rates[4] > rates[6] > 0


@pytest.mark.parametrize("parameters", ["all", "lora"])
def test_other_parameters_resume_with_the_same_bytes(tools, tmp_path, parameters):
    straight = tune(tools, place(tmp_path, "straight"), parameters=parameters)
    with pytest.raises(KeyboardInterrupt):
        tune(tools, place(tmp_path, "stopped"), on_step=interrupt_at(4), parameters=parameters)
    assert_same(tune(tools, place(tmp_path, "stopped"), parameters=parameters), straight)


def test_again_and_again(tools, uninterrupted, tmp_path):
    workplace = place(tmp_path)
    for last in (4, 4, 6):
        with pytest.raises(KeyboardInterrupt):
            tune(tools, workplace, on_step=interrupt_at(last))
    check_resumed(tools, uninterrupted, workplace, 6)


def test_more_steps_resume_from_the_last_checkpoint(tools, uninterrupted, tmp_path):
    workplace = place(tmp_path)
    tune(tools, workplace, steps=4)
    check_resumed(tools, uninterrupted, workplace, 4)


def test_a_resumed_checkpoint_is_reported_again(tools, tmp_path):
    workplace, reported = place(tmp_path), []
    tune(tools, workplace, steps=4)
    tune(tools, workplace, on_checkpoint=lambda step, path: reported.append((step, path)))
    assert reported == [(step, workplace.checkpoint(step)) for step in (4, 6, 7)]
