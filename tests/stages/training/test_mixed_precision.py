"""Steps in half precision: near those in single precision, with a scaled loss in fp16, where an overflow leaves out a step."""

import math
from collections.abc import Mapping
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file

from stages.core.errors import InputError
from tests.support.training import STEPS, assert_same, changed, distance, interrupt_at, logs, place, tune

OVERFLOWING, VANISHING = 1e35, 1e-6  # factors of a loss whose gradients fp16 cannot hold unscaled


class Multiplied:
    """A method whose total is multiplied by a factor in some forward passes."""

    def __init__(self, method, factors: Mapping[int, float]) -> None:
        self.method, self.factors, self.calls = method, factors, 0

    def __getattr__(self, name: str):
        return getattr(self.method, name)

    def losses(self, network, batch, draws):
        terms = self.method.losses(network, batch, draws)
        terms["total"] = terms["total"] * self.factors.get(self.calls, 1.0)
        self.calls += 1
        return terms


def multiplied(factors: Mapping[int, float]):
    return lambda method: Multiplied(method, factors)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_steps_in_half_precision_are_near_those_in_single(tools, uninterrupted, tmp_path, precision):
    wanted, straight = uninterrupted
    found = tune(tools, place(tmp_path), precision=precision)
    assert 0 < distance(found, wanted) < 0.2 * distance(tools.diffusion.unet.state_dict(), wanted)
    for one, other in zip(logs(place(tmp_path)), logs(straight), strict=True):
        assert one["total"] == pytest.approx(other["total"], rel=0.02)
        assert one["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=0.1)


def test_small_gradients_do_not_vanish_in_fp16(tools, tmp_path):
    norms = {}
    for precision in ("no", "fp16"):
        workplace = place(tmp_path, precision)
        tune(tools, workplace, precision=precision, steps=1, wrap=multiplied({0: VANISHING}))
        norms[precision] = logs(workplace)[0]["gradient_norm"]
    assert norms["fp16"] == pytest.approx(norms["no"], rel=0.1)


def test_a_step_whose_scaled_gradient_overflows_is_left_out(tools, tmp_path):
    seen = []

    def on_step(step, log, unet):
        seen.append({name: value.clone() for name, value in unet.state_dict().items()})

    workplace = place(tmp_path)
    tune(tools, workplace, precision="fp16", wrap=multiplied({2: OVERFLOWING}), on_step=on_step, steps=4)
    assert [bool(changed(one, other)) for one, other in pairwise(seen)] == [True, False, True]
    assert [math.isfinite(row["gradient_norm"]) for row in logs(workplace)] == [True, True, False, True]


def test_resumed_training_keeps_the_scale_of_its_loss(tools, tmp_path):
    """After an overflow it is half of the scale that a new training would start with."""
    spoil = {"precision": "fp16", "wrap": multiplied({1: OVERFLOWING})}
    straight = tune(tools, place(tmp_path, "straight"), **spoil)
    with pytest.raises(KeyboardInterrupt):
        tune(tools, place(tmp_path, "stopped"), on_step=interrupt_at(4), **spoil)
    assert load_file(place(tmp_path, "stopped").checkpoint(3))["scaler/scale"] == 2.0**15
    assert_same(tune(tools, place(tmp_path, "stopped"), precision="fp16"), straight)
    kept = [load_file(place(tmp_path, name).checkpoint(7)) for name in ("straight", "stopped")]
    assert_same(kept[1], kept[0])


def test_gradients_that_always_overflow_end_the_training(tools, tmp_path):
    spoil = {"precision": "fp16", "wrap": multiplied(dict.fromkeys(range(40), OVERFLOWING))}
    with pytest.raises(InputError, match=r"the gradient of step 16 is (inf|nan); .*train.learning_rate"):
        tune(tools, place(tmp_path), steps=40, checkpoint_every=40, **spoil)


def test_average_on_the_host_is_the_same(tools, uninterrupted, tmp_path):
    assert_same(tune(tools, place(tmp_path), average_on_host=True), uninterrupted[0])


def test_fewer_digits_are_allowed_in_the_steps_alone(tools, uninterrupted, tmp_path):
    """A processor multiplies with all of them."""

    def allowed() -> list[bool]:
        return [kind.allow_tf32 for kind in (torch.backends.cuda.matmul, torch.backends.cudnn)]

    seen = []
    assert_same(tune(tools, place(tmp_path), precision="tf32", on_step=lambda *_: seen.append(allowed())), uninterrupted[0])
    assert seen == [[True, True]] * STEPS
    assert allowed() == [False, False]
