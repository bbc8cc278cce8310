"""The training loop resumes exactly, trains in rounds, and stops at a loss that is not finite."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

import nano.fit
from nano.settings import Training
from stages.training.checkpoints import read_step


class Killed(Exception):
    pass


class Fits:
    """Fits a small linear model in a folder of its own, and records its weights before every step."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch, self.seen = folder, patch, list[torch.Tensor]()
        patch.setattr(nano.fit, "CHECKPOINT_EVERY", 2)
        patch.setattr(nano.fit, "inputs_digest", lambda _: "unchanged")

    def __call__(self, folder: str, steps: list[int], *, kill_at: int | None = None, nan_at: int | None = None) -> nn.Linear:
        """Return the fitted model; the loss of call ``kill_at``, counted from 0, raises; that of ``nan_at`` is NaN."""
        self.patch.setattr(nano.fit, "BUILD", self.folder / folder)
        self.seen.clear()
        torch.manual_seed(0)
        model = nn.Linear(3, 2)

        def loss(generator: torch.Generator) -> torch.Tensor:
            number = len(self.seen)
            if number == kill_at:
                raise Killed
            self.seen.append(model.weight.detach().clone())
            value = model(torch.randn(2, 3, generator=generator)).square().mean()
            return value * torch.nan if number == nan_at else value

        nano.fit.fit("small", model, loss, Training(steps=steps, batch=2, lr=0.1, threads=1, precision="fp32"), 0)
        return model


@pytest.fixture
def fits(tmp_path, monkeypatch) -> Fits:
    return Fits(tmp_path, monkeypatch)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_products_have_the_precision_of_the_training(tmp_path, monkeypatch, precision):
    """The whole recipe is tested in fp32: where cores lack bf16, it takes ten times as long."""
    monkeypatch.setattr(nano.fit, "inputs_digest", lambda _: "unchanged")
    monkeypatch.setattr(nano.fit, "BUILD", tmp_path)
    model, seen = nn.Linear(3, 2), set[torch.dtype]()

    def loss(generator: torch.Generator) -> torch.Tensor:
        found = model(torch.randn(2, 3, generator=generator))
        seen.add(found.dtype)
        return found.square().mean()

    nano.fit.fit("small", model, loss, Training(steps=[2], batch=2, lr=0.1, threads=1, precision=precision), 0)
    assert seen == {torch.bfloat16 if precision == "bf16" else torch.float32}
    assert model.weight.dtype == torch.float32


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(*pair) for pair in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(("steps", "kill_at", "left"), [([6], 3, 4), ([6, 4], 3, 8), ([6, 4], 6, 4), ([6, 4], 9, 2)])
def test_interrupted_fit_ends_with_the_same_weights(fits, steps, kill_at, left):
    whole = fits("whole", steps)
    assert len(fits.seen) == sum(steps)
    with pytest.raises(Killed):
        fits("killed", steps, kill_at=kill_at)
    again = fits("killed", steps)
    assert len(fits.seen) == left  # since the last checkpoint: one every 2 steps, and one at the end of a round
    assert same_weights(again, whole)


def test_round_starts_from_the_rounded_average_of_the_last(fits):
    fits("longer", [7])  # its first 6 steps equal the round's, because the warm-up has not ended
    average, *after = fits.seen[1:]  # the weights after each step
    for weights in after:
        average = 0.999 * average + 0.001 * weights
    fits("two", [6, 1])
    started = fits.seen[6]
    assert torch.equal(started, started.half().float())
    torch.testing.assert_close(started, average, rtol=2**-10, atol=0)  # rounded to half precision
    assert not torch.allclose(started, after[-1], rtol=2**-10, atol=0)
    assert torch.equal(fits("one", [6]).weight, started)  # a finished training leaves what the next round starts from


@pytest.mark.parametrize(
    ("steps", "message", "kept"), [([6], "small: the loss of step 5", 4), ([6, 4], "small, round 2: the loss of step 3", 2)]
)
def test_non_finite_loss_stops_the_fit_at_its_last_checkpoint(fits, steps, message, kept):
    whole = fits("whole", steps)
    with pytest.raises(FloatingPointError, match=f"^{message} is nan; the last checkpoint is ") as error:
        fits("mended", steps, nan_at=sum(steps) - 1)
    checkpoint = Path(str(error.value).rpartition(" is ")[2])
    assert read_step(checkpoint) == kept
    again = fits("mended", steps)
    assert len(fits.seen) == steps[-1] - kept
    assert same_weights(again, whole)


def test_fit_ignores_checkpoints_of_other_settings(tmp_path, monkeypatch):
    monkeypatch.setattr(nano.fit, "BUILD", tmp_path)
    torch.manual_seed(0)
    start = nn.Linear(3, 2)

    def fitted(steps, seed, inputs="unchanged"):
        monkeypatch.setattr(nano.fit, "inputs_digest", lambda _: inputs)
        model = copy.deepcopy(start)
        training = Training(steps=[steps], batch=2, lr=0.1, threads=1, precision="fp32")
        nano.fit.fit("one", model, lambda rng: model(torch.randn(2, 3, generator=rng)).square().mean(), training, seed)
        return model.weight

    first = fitted(3, 0)
    assert torch.equal(fitted(3, 0), first)  # already done: no step is trained twice
    assert not torch.equal(fitted(3, 1), first)
    assert not torch.equal(fitted(4, 0), first)
    fitted(3, 0, "other code or scenes")
    assert len(list(tmp_path.glob("*.checkpoint.safetensors"))) == 4
