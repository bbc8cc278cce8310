"""InstructPix2Pix: what it sees, what it learns from, and that its training resumes exactly."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.core.errors import InputError
from stages.training.instruct_pix2pix import InstructionDraws, InstructPix2Pix, widen
from stages.training.loop import fine_tune
from stages.training.workplace import Workplace
from tests.support.training import assert_same, changed, edit_sample, interrupt_at, make_method, params_for, place, read

STEPS, EVERY = 5, 2


def tune(tools, workplace: Workplace, *, data=None, on_step=lambda *_: None, **changes) -> dict[str, Tensor]:
    """Train a fresh copy of the base and return its weights."""
    config = params_for(tools.folder, **{"steps": STEPS, "checkpoint_every": EVERY} | changes).train
    method = InstructPix2Pix(tools.diffusion, 0.05)
    fine_tune(method, data or tools.data, config, workplace, on_step=on_step, on_checkpoint=lambda *_: None)
    return method.unet.state_dict()


def draws(timesteps: list[int], *, without_prompt: list[bool], without_source: list[bool]) -> InstructionDraws:
    noise = torch.randn(len(timesteps), 4, 16, 16, generator=torch.Generator().manual_seed(5))
    parts = (torch.tensor(each) for each in (timesteps, without_prompt, without_source))
    return InstructionDraws(noise=noise, **dict(zip(("timesteps", "without_prompt", "without_source"), parts, strict=True)))


def noisy_weights(tools):
    """A widened U-Net that uses its source."""
    unet = widen(tools.diffusion.unet)
    torch.manual_seed(3)
    torch.nn.init.normal_(unet.conv_in.weight, std=0.1)
    return unet


@torch.no_grad()
def test_it_begins_as_the_base(tools):
    wide = widen(tools.diffusion.unet)
    noisy, source = torch.randn(2, 2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    text = tools.diffusion.embed_prompts(["a dog", "a cat"]).text
    wanted = tools.diffusion.unet(noisy, 500, text).sample
    torch.testing.assert_close(wide(torch.cat([noisy, source], dim=1), 500, text).sample, wanted, rtol=1e-5, atol=1e-6)
    assert wide.config.in_channels == 8
    assert tools.diffusion.unet.config.in_channels == 4


def test_loss_and_gradient_by_hand(tools):
    unet = noisy_weights(tools).requires_grad_(True)
    drawn = draws([20, 700, 999], without_prompt=[False, True, False], without_source=[False, False, True])
    batch = read(tools.data, [0, 1, 2])
    terms = InstructPix2Pix(tools.diffusion, 0.05).losses(unet, batch, drawn)
    terms["total"].mean().backward()

    diffusion = tools.diffusion
    with torch.no_grad():
        samples = [edit_sample(number) for number in (0, 1, 2)]
        sources, targets = (
            torch.stack([torch.from_numpy(np.asarray(getattr(sample, name))) for sample in samples]).permute(0, 3, 1, 2) / 127.5
            - 1
            for name in ("source", "target")
        )
        source, target = (diffusion.vae.encode(each).latent_dist.mode() for each in (sources, targets))
        source[2] = 0
        noisy = diffusion.scheduler.add_noise(target * 0.18215, drawn.noise, drawn.timesteps)
        text = diffusion.embed_prompts(["a dog 0", "", "a dog 2"]).text
        predicted = unet(torch.cat([noisy, source], dim=1), drawn.timesteps, text).sample.double()
    error = predicted - drawn.noise.double()
    torch.testing.assert_close(terms["total"].double(), error.square().mean(dim=(1, 2, 3)), rtol=1e-3, atol=1e-4)
    wanted = 2 * error.sum(dim=(0, 2, 3)) / error.numel()  # derivative of the mean square by the last layer's bias
    torch.testing.assert_close(unet.conv_out.bias.grad.double(), wanted, rtol=1e-3, atol=1e-5)
    assert unet.conv_in.weight.grad[:, 4:].abs().sum() > 0
    assert unet.up_blocks[0].resnets[0].conv1.weight.grad.abs().sum() > 0


def test_prompt_source_and_both_are_dropped_equally_often(tools):
    drawn = InstructPix2Pix(tools.diffusion, 0.05).draw(torch.Size((1,)), 0, list(range(4000)))
    without = list(zip(drawn.without_prompt.tolist(), drawn.without_source.tolist(), strict=True))
    for kind in ((True, False), (False, True), (True, True)):
        assert without.count(kind) / 4000 == pytest.approx(0.05, abs=0.012)


def test_it_draws_the_noise_and_timesteps_of_iedit(tools):
    methods = (InstructPix2Pix(tools.diffusion, 0.05), make_method(tools, params_for(tools.folder).train))
    ours, theirs = (method.draw(torch.Size((4, 2, 2)), 0, [3, 8]) for method in methods)
    assert torch.equal(ours.noise, theirs.noise)
    assert torch.equal(ours.timesteps, theirs.timesteps)


def test_all_of_the_network_is_trained_in_every_step(tools, tmp_path):
    weights = [widen(tools.diffusion.unet).state_dict(), tune(tools, place(tmp_path, stage="instruct"), steps=1)]
    assert changed(*weights) == set(weights[0])


@pytest.mark.parametrize("last", [0, 1, 2, 4])
def test_interrupted_and_resumed_equals_straight_through(tools, tmp_path, last):
    straight, stopped = place(tmp_path, "straight", "instruct"), place(tmp_path, "stopped", "instruct")
    wanted = tune(tools, straight)

    with pytest.raises(KeyboardInterrupt):
        tune(tools, stopped, on_step=interrupt_at(last))
    steps = []
    assert_same(tune(tools, stopped, on_step=lambda step, _: steps.append(step)), wanted)
    assert steps == list(range(last // EVERY * EVERY, STEPS))
    assert stopped.losses.read_bytes() == straight.losses.read_bytes()


def test_values_not_finite_name_its_own_learning_rate(tools, tmp_path):
    with pytest.raises(InputError, match=r"^instruct: the .* is (nan|inf); .*; try a lower instruct\.learning_rate"):
        tune(tools, place(tmp_path, stage="instruct"), learning_rate=1e30, max_gradient_norm=1e30, warm_up=0)


def test_it_learns_to_copy(tools, tmp_path):
    generator = torch.Generator().manual_seed(0)

    class Copies:
        """Targets that are their own sources, new ones in every batch: only the source gives them away."""

        def __len__(self) -> int:
            return len(tools.data)

        def ranks(self, seed: int, epoch: int):
            return tools.data.ranks(seed, epoch)

        def __getitem__(self, rows):
            z = 2 * torch.randn(len(rows), 4, 16, 16, generator=generator)
            return {**tools.data[rows], "z1": z * tools.diffusion.vae.config.scaling_factor, "z2": z}

    changes = {"steps": 80, "checkpoint_every": 80, "learning_rate": 1e-2, "weight_decay": 0.0, "max_gradient_norm": 1.0}
    unet = widen(tools.diffusion.unet)
    unet.load_state_dict(tune(tools, place(tmp_path, stage="instruct"), data=Copies(), ema_decay=0.8, **changes))
    drawn = draws([500, 600, 700], without_prompt=[False] * 3, without_source=[False] * 3)
    method, batch = InstructPix2Pix(tools.diffusion, 0.05), read(Copies(), [0, 1, 2])
    with torch.no_grad():
        seen = method.losses(unet, batch, drawn)["total"].mean()
        hidden = method.losses(unet, batch, replace(drawn, without_source=torch.tensor([True] * 3)))["total"].mean()
    assert seen < 0.75 * hidden
