"""The loop: what a step trains, what is logged, and what a checkpoint holds."""

import copy
import sys
from functools import partial
from itertools import islice
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from stages.core.errors import InputError
from stages.training.order import draw_order
from tests.support.training import (
    EVERY,
    STEPS,
    TRAINED,
    assert_same,
    changed,
    logs,
    make_method,
    params_for,
    place,
    read,
    tune,
)

INPUT = ("conv_in.", "down_blocks.")


@pytest.fixture(scope="module")
def reference(tools, tmp_path_factory) -> SimpleNamespace:
    """A training that was never interrupted, with its weights after every step."""
    workplace = place(tmp_path_factory.mktemp("reference"))
    raw = []
    final = tune(tools, workplace, on_step=lambda step, log, unet: raw.append(copy.deepcopy(unet.state_dict())))
    return SimpleNamespace(final=final, raw=raw, workplace=workplace)


def test_only_input_and_middle_blocks_are_trained(tools, reference):
    base = tools.diffusion.unet.state_dict()
    names = changed(base, reference.final)
    assert {name for name in names if not name.startswith(TRAINED)} == set()
    for part in ("conv_in.weight", "down_blocks.0", "down_blocks.1", "mid_block"):
        assert any(name.startswith(part) for name in names), part
    for part in ("time_embedding", "up_blocks", "conv_norm_out", "conv_out"):  # there, and frozen
        assert any(name.startswith(part) for name in base), part


def test_blocks_take_turns_and_the_idle_one_does_not_decay(tools, reference):
    weights = [tools.diffusion.unet.state_dict(), *reference.raw]
    for step in range(STEPS):
        names = changed(weights[step], weights[step + 1])
        active = INPUT if step % 2 == 0 else ("mid_block.",)
        assert {name.split(".")[0] + "." for name in names} == set(active)


def test_all_parameters_are_trained_in_every_step(tools, tmp_path):
    weights = [tools.diffusion.unet.state_dict()]
    tune(
        tools,
        place(tmp_path),
        parameters="all",
        steps=2,
        on_step=lambda step, log, unet: weights.append(copy.deepcopy(unet.state_dict())),
    )
    assert changed(weights[0], weights[1]) == changed(weights[1], weights[2]) == set(weights[0])


def test_result_is_the_moving_average(reference):
    average = {name: value.double() for name, value in reference.raw[0].items()}
    for step, weights in enumerate(reference.raw[1:], 1):
        decay = min(0.5, (1 + step) / (10 + step))
        average = {name: decay * value + (1 - decay) * weights[name].double() for name, value in average.items()}
    for name, value in average.items():
        torch.testing.assert_close(reference.final[name].double(), value, rtol=1e-5, atol=1e-6)
    assert any(name.startswith("conv_in") for name in changed(reference.raw[-1], reference.final))


def test_checkpoints_are_shown_with_the_averaged_weights(tools, reference, tmp_path):
    """Those that a training of so many steps would end with; the training itself goes on from the raw weights."""
    methods, shown = [], []
    final = tune(
        tools,
        place(tmp_path),
        wrap=lambda method: methods.append(method) or method,
        on_checkpoint=lambda *_: shown.append(copy.deepcopy(methods[0].unet.state_dict())),
    )
    assert_same(shown[0], tune(tools, place(tmp_path, "short"), steps=EVERY))
    assert changed(shown[0], reference.raw[EVERY - 1])
    assert_same(shown[-1], reference.final)
    assert_same(final, reference.final)


def test_a_resumed_checkpoint_is_shown_with_averaged_weights(tools, tmp_path):
    methods, shown = [], []
    wanted = tune(tools, place(tmp_path), steps=EVERY)
    tune(
        tools,
        place(tmp_path),
        wrap=lambda method: methods.append(method) or method,
        on_checkpoint=lambda *_: shown.append(copy.deepcopy(methods[0].unet.state_dict())),
    )
    assert_same(shown[0], wanted)


def test_first_step_is_adamw_on_the_clipped_gradient(tools, tmp_path):
    config = params_for(tools.folder).train
    method = make_method(tools, config)
    unet = method.unet.requires_grad_(True)
    numbers = [0, 1]
    batch = read(tools.data, list(islice(draw_order(5, partial(tools.data.ranks, 0), 0), 2)))
    method.losses(unet, batch, method.draw(batch.z1.shape[1:], 0, numbers))["total"].mean().backward()
    named = {name: weight for name, weight in unet.named_parameters() if name.startswith(INPUT)}
    gradients = {name: weight.grad.double() for name, weight in named.items()}
    norm = float(sum((each**2).sum() for each in gradients.values())) ** 0.5
    assert norm > 0.05  # it is clipped

    workplace = place(tmp_path)
    found = tune(tools, workplace, steps=1)
    assert logs(workplace)[0]["gradient_norm"] == pytest.approx(norm, rel=1e-4)
    assert logs(workplace)[0]["learning_rate"] == pytest.approx(0.5e-3)  # the first of two steps of warm-up
    state = load_file(workplace.checkpoint(1))
    order_of = {id(weight): number for number, weight in enumerate(method.blocks()["input"].parameters())}
    for name, weight in named.items():
        clipped = gradients[name] * 0.05 / norm
        moment = state[f"optimizers/input/{order_of[id(weight)]}/exp_avg"].double()
        torch.testing.assert_close(moment, 0.1 * clipped, rtol=1e-3, atol=1e-6)
        rate, decay = 0.5e-3, 0.5
        wanted = weight.detach().double() * (1 - rate * decay) - rate * clipped / (clipped.abs() + 1e-8)
        sure = clipped.abs() > 1e-5  # AdamW's first step has the size of the rate, however small the gradient
        torch.testing.assert_close(found[name].double()[sure], wanted[sure], rtol=1e-4, atol=2e-6)


def test_accumulated_batches_are_one_large_batch(tools, tmp_path):
    one, two = place(tmp_path, "one"), place(tmp_path, "two")
    whole = tune(tools, one, steps=2, batch=4, accumulation=1)
    parts = tune(tools, two, steps=2, batch=2, accumulation=2)
    for name, value in logs(one)[0].items():
        assert logs(two)[0][name] == pytest.approx(value, rel=1e-3, abs=1e-6), name
    moments = [load_file(workplace.checkpoint(2)) for workplace in (one, two)]
    names = [name for name in moments[0] if name.endswith("exp_avg")]
    assert {name.split("/")[1] for name in names} == {"input", "middle"}
    first, second = (torch.cat([moment[name].flatten() for name in names]) for moment in moments)
    assert (first - second).norm() < 0.02 * first.norm()
    difference = torch.cat([(whole[name] - parts[name]).flatten() for name in whole])
    moved = torch.cat([(whole[name] - tools.diffusion.unet.state_dict()[name]).flatten() for name in whole])
    assert difference.norm() < 0.05 * moved.norm()


def test_log_has_every_step_and_the_warm_up(reference):
    rows = logs(reference.workplace)
    assert [row["step"] for row in rows] == list(range(STEPS))
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.5e-3] + [1e-3] * (STEPS - 1))
    assert {"raw/noise", "weighted/perceptual", "share/both", "total", "gradient_norm"} <= set(rows[0])


def test_another_seed_trains_other_weights(tools, reference, tmp_path):
    other = tune(tools, place(tmp_path), seed=1)
    assert changed(other, reference.final)


def test_old_checkpoints_are_removed(reference):
    assert [path.name for path in reference.workplace.checkpoints()] == [
        "0123456789abcdef.00000006.safetensors",
        "0123456789abcdef.00000007.safetensors",
    ]


def test_checkpointing_activations_changes_memory_only(tools, reference, tmp_path):
    vae = tools.diffusion.vae
    try:
        found = tune(tools, place(tmp_path), gradient_checkpointing=True)
    finally:
        vae.disable_gradient_checkpointing()
    for name, value in reference.final.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("every", [2, 10])
def test_reading_losses_rarely_changes_no_byte(tools, reference, tmp_path, every):
    """Neither the weights nor the losses of any step depend on how often the host reads them."""
    workplace, steps = place(tmp_path), []
    found = tune(tools, workplace, log_every=every, on_step=lambda step, log, unet: steps.append(step))
    assert_same(found, reference.final)
    assert steps == list(range(STEPS))
    assert workplace.losses.read_bytes() == reference.workplace.losses.read_bytes()
    for path in reference.workplace.checkpoints():
        assert (workplace.folder / path.name).read_bytes() == path.read_bytes()


def test_steps_are_reported_once_an_interval_and_before_checkpoints(tools, tmp_path):
    """With checkpoints after steps 2, 5 and 6, and reading every 2 steps, the host waits six times."""
    events = []
    tune(
        tools,
        place(tmp_path),
        log_every=2,
        on_step=lambda step, log, unet: events.append((step, log["samples_per_second"])),
        on_checkpoint=lambda step, path: events.append(f"checkpoint {step}"),
    )
    steps = [event if isinstance(event, str) else event[0] for event in events]
    assert steps == [0, 1, 2, "checkpoint 3", 3, 4, 5, "checkpoint 6", 6, "checkpoint 7"]
    speed = dict(event for event in events if not isinstance(event, str))
    assert speed[0] == speed[1] > 0  # read together
    assert len({speed[step] for step in (0, 2, 3, 4, 6)}) == 5


def test_no_step_makes_the_host_read_a_value(tools, tmp_path, monkeypatch):
    """Between two readings no code of the stages turns a float on the device into a number of Python."""
    reads = []
    for name in ("item", "tolist", "__bool__", "__float__"):
        real = getattr(torch.Tensor, name)

        def spy(tensor, *, real=real, name=name):
            if tensor.is_floating_point() and "stages/" in sys._getframe(1).f_code.co_filename:
                reads.append(name)
            return real(tensor)

        monkeypatch.setattr(torch.Tensor, name, spy)
    tune(tools, place(tmp_path), log_every=10, checkpoint_every=10, on_step=lambda *_: None)
    assert reads == ["tolist"]


class Spoiled:
    """A method whose total, or its gradient, is not finite in one forward pass."""

    def __init__(self, method, spoil, at: int) -> None:
        self.method, self.spoil, self.at, self.calls = method, spoil, at, 0

    def __getattr__(self, name: str):
        return getattr(self.method, name)

    def losses(self, network, batch, draws):
        terms = self.method.losses(network, batch, draws)
        if self.calls == self.at:
            terms["total"] = self.spoil(terms["total"])
        self.calls += 1
        return terms


@pytest.mark.parametrize(
    "spoil",
    [
        lambda total: total * float("nan"),
        lambda total: total + float("inf"),
        lambda total: total + (total * 0).sqrt(),  # the value is finite, its gradient is 0 times infinity
    ],
    ids=["nan", "inf", "gradient"],
)
@pytest.mark.parametrize(("at", "kept"), [(1, None), (4, 3), (5, 3)])
@pytest.mark.parametrize("every", [1, 10])
def test_a_value_that_is_not_finite_stops_training(tools, reference, tmp_path, spoil, at, kept, every):
    """The error names the step; nothing of it or after it is logged or saved, so that training can resume."""
    workplace, steps = place(tmp_path), []
    where = workplace.checkpoint(kept).name if kept else "there is no checkpoint yet"
    with pytest.raises(InputError, match=rf"of step {at} is (nan|inf); .*{where}.*train.learning_rate"):
        tune(
            tools,
            workplace,
            log_every=every,
            wrap=lambda method: Spoiled(method, spoil, at),
            on_step=lambda step, log, unet: steps.append(step),
        )
    assert workplace.checkpoints() == ([workplace.checkpoint(kept)] if kept else [])
    assert [row["step"] for row in logs(workplace)] == steps == list(range(at))
    assert_same(tune(tools, workplace), reference.final)
