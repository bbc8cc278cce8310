"""The fine-tuning loop: blocks of the U-Net in turn, everything else frozen, resumed exactly."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from tqdm import tqdm

from stages.core.errors import InputError
from stages.core.files import writing, written_aside
from stages.core.params import Train
from stages.models.latent_diffusion import Diffusion
from stages.training import iedit
from stages.training.checkpoints import Modules, Optimizers, load_state, read_step, save_state
from stages.training.dataset import Batch, TrainingSet, order

StepLog = dict[str, float]
Blocks = Mapping[str, nn.ModuleList]
Draw = Callable[[torch.Size, int, float, int, list[int]], Any]
"""(shape of a sample's noise, timesteps, dropout, seed, sample numbers) → what the objective takes for its draws."""


class Objective(Protocol):
    """The losses of a batch: ``total``, (n,), is to be minimised, and whatever else is to be logged, (n,) each."""

    diffusion: Diffusion
    alphas: Tensor

    def __call__(self, unet: nn.Module, batch: Batch, draws: Any, /) -> dict[str, Tensor]:
        """Return every term by name."""


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """Where a training keeps what it needs to go on after a kill."""

    folder: Path
    stage: str = "train"  # whose parameters the learning rate is among
    fingerprint: str  # of everything that decides the weights; a checkpoint of another training is not resumed

    @property
    def losses(self) -> Path:
        """The losses of each step so far, one JSON object a line."""
        return self.folder / f"{self.fingerprint[:16]}.losses.jsonl"

    def read_losses(self) -> Iterator[tuple[int, StepLog]]:
        """Yield each step that is logged, with its losses.

        Raises:
            InputError: a line is damaged or missing.
        """
        for step, line in enumerate(self.losses.read_bytes().splitlines()):
            try:
                log = {name: float(value) for name, value in json.loads(line).items()}
            except (ValueError, TypeError, AttributeError):
                log = {}
            if log.pop("step", None) != step:
                raise InputError(f"{self.losses}: line {step + 1} is damaged; remove {self.folder} to train anew")
            yield step, log

    def checkpoint(self, step: int) -> Path:
        """The state after ``step`` steps."""
        return self.folder / f"{self.fingerprint[:16]}.{step:08d}.safetensors"

    def checkpoints(self) -> list[Path]:
        """All checkpoints of this training, oldest first."""
        return sorted(self.folder.glob(f"{self.fingerprint[:16]}.*.safetensors"))


def trainable_blocks(unet: UNet2DConditionModel) -> dict[str, nn.ModuleList]:
    """Return the parts that iEdit trains in turn (section 4.1): not the time embedding, the up blocks and conv_out."""
    return {
        "input": nn.ModuleList([unet.conv_in, unet.down_blocks]),
        "middle": nn.ModuleList([unet.mid_block]),
    }


def warm_up(step: int, steps: int) -> float:
    """Return the share of the learning rate at ``step``: linear over ``steps``, then constant."""
    return min(1.0, (step + 1) / steps) if steps else 1.0


def _ema(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Return the update of an exponential moving average whose decay grows from 0.1 to ``decay`` with the steps."""

    def update(average: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
        rate = min(decay, (1 + float(steps)) / (10 + float(steps)))
        return torch.lerp(current, average, rate)

    return update


def fine_tune(
    unet: UNet2DConditionModel,
    objective: Objective,
    data: TrainingSet,
    config: Train,
    seed: int,
    workplace: Workplace,
    *,
    on_step: Callable[[int, StepLog], None],
    on_checkpoint: Callable[[int, Path], None],
    trainable: Callable[[UNet2DConditionModel], Blocks] = trainable_blocks,
    draw: Draw = iedit.draw,
) -> int:
    """Train ``unet`` in place; at the end it holds the moving average of its weights.

    Of several processes (``accelerate launch``) the first writes and is told; a step has the batches of all.

    Args:
        unet: of the base model.
        objective: the losses.
        data: the encoded training set.
        config: the ``train`` section.
        seed: of all random draws.
        workplace: checkpoints and losses; the newest checkpoint there is resumed.
        on_step: told every step's losses, learning rate, gradient norm and speed.
        on_checkpoint: told every checkpoint when it is whole, and again when it is resumed: a kill may have come between.
        trainable: gives the blocks that are trained in turn, one a step.
        draw: makes what is random in a batch; its dropout is ``config.unconditional``.

    Returns:
        How many steps had been done before.

    Raises:
        InputError: a loss or its gradient is not finite; the last checkpoint stays.
    """
    accelerator = Accelerator(
        mixed_precision=config.precision,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],  # the other block has no gradient
    )
    unet.requires_grad_(False)
    if config.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
        objective.diffusion.vae.enable_gradient_checkpointing()
    blocks = trainable(unet)
    turns = tuple(blocks)
    # One optimiser a block: AdamW decays weights even where the gradient is zero, so each steps only when its block is on.
    optimizers = {
        name: torch.optim.AdamW(block.requires_grad_(True).parameters(), config.learning_rate, weight_decay=config.weight_decay)
        for name, block in blocks.items()
    }
    trained = nn.ModuleDict(dict(blocks))
    average = torch.optim.swa_utils.AveragedModel(trained, avg_fn=_ema(config.ema_decay))
    state: dict[str, nn.Module] = {"trained": trained, "average": average}
    done = _resume(accelerator, workplace, config.steps, state, optimizers)
    if done and accelerator.is_main_process:
        on_checkpoint(done, workplace.checkpoint(done))
    network = accelerator.prepare(unet)
    per_step = config.batch * config.accumulation * accelerator.num_processes
    batches = _batches(data, config.batch, seed, done * per_step, accelerator)
    bar = tqdm(
        range(done, config.steps),
        initial=done,
        total=config.steps,
        desc=workplace.stage,
        unit="step",
        mininterval=1,
        disable=not accelerator.is_main_process,
    )
    for step in bar:
        started = time.perf_counter()
        active = turns[step % len(turns)]
        for name, block in blocks.items():
            block.requires_grad_(name == active)
        rate = config.learning_rate * warm_up(step, config.warm_up)
        optimizer = optimizers[active]
        for group in optimizer.param_groups:
            group["lr"] = rate

        sums: StepLog = {}
        for micro in range(config.accumulation):
            is_last = micro + 1 == config.accumulation
            with nullcontext() if is_last else accelerator.no_sync(network):
                terms = _accumulate(accelerator, network, objective, next(batches), config, seed, draw)
            _check_finite("loss", terms["total"], step, workplace)
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value / config.accumulation
        norm = float(accelerator.clip_grad_norm_(blocks[active].parameters(), config.max_gradient_norm))
        _check_finite("gradient", norm, step, workplace)  # it can be infinite where the loss is not
        optimizer.step()
        optimizer.zero_grad()
        average.update_parameters(trained)

        log: StepLog = {**sums, "learning_rate": rate, "gradient_norm": norm}
        if accelerator.is_main_process:
            with writing(workplace.losses), workplace.losses.open("a") as file:
                file.write(json.dumps({"step": step, **log}) + "\n")
            on_step(step, {**log, "samples_per_second": per_step / (time.perf_counter() - started)})
            bar.set_postfix(loss=f"{sums['total']:.3f}", refresh=False)
            if (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps:
                path = workplace.checkpoint(step + 1)
                save_state(path, state, optimizers, step + 1)
                for old in workplace.checkpoints()[: -config.keep_checkpoints]:
                    old.unlink()
                on_checkpoint(step + 1, path)
        accelerator.wait_for_everyone()
    trained.load_state_dict(average.module.state_dict())
    unet.requires_grad_(False)
    return done


def _accumulate(
    accelerator: Accelerator,
    network: nn.Module,
    objective: Objective,
    numbered: tuple[list[int], Batch],
    config: Train,
    seed: int,
    draw: Draw,
) -> StepLog:
    """Add the gradient of one forward pass to that of its step and return the mean of every term."""
    numbers, batch = numbered
    draws = draw(batch.z1.shape[1:], len(objective.alphas), config.unconditional, seed, numbers)
    with accelerator.autocast():
        terms = objective(network, batch, draws)
        loss = terms["total"].mean() / config.accumulation
    if torch.isfinite(loss):
        accelerator.backward(loss)
    return {name: values.mean().item() for name, values in terms.items()}


def _check_finite(name: str, value: float, step: int, workplace: Workplace) -> None:
    """Raise before a value that is not finite gets into the weights, and from there into a checkpoint."""
    if math.isfinite(value):
        return
    kept = workplace.checkpoints()
    where = f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"
    raise InputError(
        f"{workplace.stage}: the {name} of step {step} is {value}; {where}; try a lower {workplace.stage}.learning_rate"
    )


def _batches(
    data: TrainingSet, size: int, seed: int, first: int, accelerator: Accelerator
) -> Iterator[tuple[list[int], Batch]]:
    """Yield (sample numbers, batch) for this process; number k is the same sample with the same noise in every run."""
    rows = order(len(data), seed, first)
    number = first
    rank, world = accelerator.process_index, accelerator.num_processes
    while True:
        drawn = list(islice(rows, size * world))
        mine = slice(rank * size, (rank + 1) * size)
        yield list(range(number, number + size * world))[mine], data.read(drawn[mine])
        number += size * world


def _resume(accelerator: Accelerator, workplace: Workplace, steps: int, state: Modules, optimizers: Optimizers) -> int:
    """Restore the newest checkpoint of at most ``steps`` steps and return the number of its steps."""
    if accelerator.is_main_process:
        _tidy(workplace, steps)
    accelerator.wait_for_everyone()
    checkpoints = workplace.checkpoints()
    return load_state(checkpoints[-1], state, optimizers) if checkpoints else 0


def _tidy(workplace: Workplace, steps: int) -> None:
    """Remove checkpoints of more than ``steps`` steps, and cut the log back to the last: what came after happens again."""
    for late in workplace.checkpoints():
        if late > workplace.checkpoint(steps):  # fewer steps are asked for now than were done before
            late.unlink()
    checkpoints = workplace.checkpoints()
    done = read_step(checkpoints[-1]) if checkpoints else 0
    lines = workplace.losses.read_bytes().splitlines(keepends=True) if workplace.losses.exists() else []
    with written_aside(workplace.losses) as temporary:
        temporary.write_bytes(b"".join(lines[:done]))
    logged = sum(1 for _ in workplace.read_losses())
    if logged < done:
        raise InputError(f"{workplace.losses}: has {logged} of {done} steps; remove {workplace.folder} to train anew")
