"""One training loop for the whole family: AdamW, EMA, exact resume, and rounds of warm-up and cosine decay."""

import math
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from nano.settings import BUILD, Training, inputs_digest
from stages.common.seeds import derive_seed
from stages.core.files import value_digest, written_aside
from stages.training.checkpoints import load_state, save_state

CHECKPOINT_EVERY = 250
WARM_UP = 100
EMA_DECAY = 0.999
NORM_BATCHES = 60


def fit(name: str, model: nn.Module, loss_of: Callable[[torch.Generator], Tensor], training: Training, seed: int) -> None:
    """Train ``model`` in place, and replace its weights by their exponential moving average.

    Each further round starts from the half-precision weights of the round before and raises the learning rate again
    (warm restarts, Loshchilov and Hutter 2017), so a family with its checkpoints can be trained further.

    Args:
        name: the stage in nano/dvc.yaml; an interrupted training resumes from the checkpoint with the same name,
            settings, seed, code and scenes.
        model: all parameters to train.
        loss_of: draws a batch with the step's own generator and returns its scalar loss.
        training: steps of every round, batch, peak learning rate, threads and precision.
        seed: the seed of every step's draws.

    Raises:
        FloatingPointError: the loss of a step is not finite.
    """
    torch.set_num_threads(training.threads)
    inputs = inputs_digest(name)
    for number in range(len(training.steps)):
        until_here = training.model_copy(update={"steps": training.steps[: number + 1]})
        _fit_round(name, model, loss_of, until_here, seed, inputs)
        model.load_state_dict({key: _half(value).to(value.dtype) for key, value in model.state_dict().items()})
    _settle_batch_norms(name, model, loss_of, seed)
    model.eval()


def _fit_round(
    name: str,
    model: nn.Module,
    loss_of: Callable[[torch.Generator], Tensor],
    training: Training,
    seed: int,
    inputs: str,
) -> None:
    """Train the last of the rounds, or resume it from its checkpoint; the model is left with its averaged weights."""
    *before, steps = training.steps
    checkpoint = BUILD / f"{name}-{value_digest([training.model_dump(), seed, inputs])[:12]}.checkpoint.safetensors"
    model.train()
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(EMA_DECAY), use_buffers=True
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=training.lr, weight_decay=0.01, fused=True)
    state: dict[str, nn.Module] = {"model": model, "average": average}
    done = load_state(checkpoint, state, {"adamw": optimizer}) if checkpoint.exists() else 0

    title = f"{name}, round {len(before) + 1}" if before else name
    bar = tqdm(range(done, steps), initial=done, total=steps, desc=title, unit="step", mininterval=5)
    shown = 0.0
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = training.lr * _schedule(step, steps)
        generator = torch.Generator().manual_seed(derive_seed(seed, name, sum(before) + step))
        # On CPUs the fused attention kernel, especially its backward pass, is slower than plain products in bf16.
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=training.precision == "bf16"), sdpa_kernel(SDPBackend.MATH):
            loss = loss_of(generator)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"{title}: the loss of step {step} is {loss.item()}; the last checkpoint is {checkpoint}")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(model)
        shown = loss.item() if step == done else 0.99 * shown + 0.01 * loss.item()
        bar.set_postfix(loss=f"{shown:.4f}", refresh=False)
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps:
            save_state(checkpoint, state, {"adamw": optimizer}, step + 1)
    model.load_state_dict(average.module.state_dict())


def _settle_batch_norms(name: str, model: nn.Module, loss_of: Callable[[torch.Generator], Tensor], seed: int) -> None:
    """Measure the batch norms' statistics for the averaged weights; training gathered them for other weights."""
    norms = [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all batches
    with torch.no_grad():
        for batch in range(NORM_BATCHES):
            loss_of(torch.Generator().manual_seed(derive_seed(seed, name, "norms", batch)))


def _schedule(step: int, steps: int) -> float:
    """Return the share of the peak learning rate: linear warm-up, then a cosine to a hundredth."""
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    progress = (step - WARM_UP) / max(1, steps - WARM_UP)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))


def draw_rows(count: int, batch: int, generator: torch.Generator) -> Tensor:
    """Return ``batch`` random row numbers below ``count``."""
    return torch.randint(count, (batch,), generator=generator)


def halve(path: Path) -> None:
    """Rewrite a safetensors file with its floating-point tensors as fp16."""
    tensors = {key: _half(value) for key, value in load_file(path).items()}
    with written_aside(path) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})


def _half(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor
