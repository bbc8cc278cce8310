"""Compiled networks: what they compute is the same but for rounding; without a compiler they are refused before any work."""

import os
from functools import partial
from shutil import which

import pytest
import torch
from torch import nn

from stages.__main__ import stage_named
from stages.core.errors import InputError
from stages.training.compilation import OPTIONS, compiled
from tests.support.training import distance, logs, params_for, place, tune

BLOCKS = 2  # that take turns

needs_compiler = pytest.mark.skipif(which(os.environ.get("CXX", "g++")) is None, reason="there is no compiler of C++")


@pytest.fixture
def graphs(tmp_path, monkeypatch):
    """Yield a function that counts the graphs that were compiled since; they are compiled anew, and in this process."""
    from torch._dynamo.utils import counters
    from torch._inductor import config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    before = counters["stats"]["unique_graphs"]
    with config.patch(compile_threads=1):
        yield lambda: counters["stats"]["unique_graphs"] - before


@needs_compiler
def test_a_compiled_network_is_the_same_but_for_rounding(tools, graphs):
    torch.manual_seed(0)
    network, pictures = nn.Sequential(nn.GroupNorm(2, 4), nn.SiLU()), torch.randn(2, 4, 8, 8)
    gradients = []
    for compile_ in (False, True):
        found = compiled(network, params_for(tools.folder, compile=compile_).train)(pictures)
        found.square().sum().backward()
        gradients.append([weight.grad for weight in network.parameters()])
        network.zero_grad()
        assert graphs() == int(compile_)
    torch.testing.assert_close(gradients[1], gradients[0])


@pytest.mark.parametrize("compiles", [False, pytest.param(True, marks=[pytest.mark.exhaustive, needs_compiler])])
def test_compiled_steps_are_those_without(tools, tmp_path, graphs, monkeypatch, compiles):
    """On the graphs that the compiler is given and, which takes minutes, on what it makes of them."""
    if not compiles:
        capture = partial(torch.compile, backend="aot_eager")
        monkeypatch.setattr(torch, "compile", lambda network, options: capture(network) if options == OPTIONS else None)
    usual, fast = (place(tmp_path, name) for name in ("usual", "fast"))
    wanted = tune(tools, usual, steps=BLOCKS)
    assert graphs() == 0
    found = tune(tools, fast, steps=BLOCKS, compile=True)
    assert graphs() >= BLOCKS
    assert distance(found, wanted) < 0.02 * distance(tools.diffusion.unet.state_dict(), wanted)
    for name in ("total", "gradient_norm"):
        assert [row[name] for row in logs(fast)] == pytest.approx([row[name] for row in logs(usual)], rel=1e-3)


def test_the_first_stage_names_a_missing_compiler(tools, monkeypatch):
    monkeypatch.setattr("stages.__main__.on_interrupt", lambda _: None)
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    message = r"^train\.compile = true: needs a compiler of C\+\+; 'no-such-compiler -O2' is not here, CXX names another$"
    with pytest.raises(InputError, match=message):
        stage_named("ingest")(params_for(tools.folder, compile=True))
