"""The fine-tuning loop: one block of the U-Net per step, everything else frozen, resumed exactly after a kill."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn
from tqdm import tqdm

from stages.core.errors import InputError
from stages.core.params import Train
from stages.models.tensors import HOST
from stages.training.checkpoints import load_state, save_state
from stages.training.compilation import compiled
from stages.training.dataset import Batch, TrainingSet
from stages.training.loader import load_batches
from stages.training.method import Method
from stages.training.moving_average import moving_average
from stages.training.optimizers import make_optimizer
from stages.training.schedule import learning_rates
from stages.training.workplace import StepLog, Workplace

LEAST_SCALE = 1.0  # of a loss in fp16; a gradient that overflows at a smaller one would overflow unscaled too
HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}  # of ``train.precision``; the others are in fp32

Terms = dict[str, Tensor]
"""The logged values of a step, by name: scalars in fp64 that are still on the device."""


def fine_tune(
    method: Method[Any],
    data: TrainingSet,
    config: Train,
    workplace: Workplace,
    *,
    on_step: Callable[[int, StepLog], None],
    on_checkpoint: Callable[[int, Path], None],
) -> int:
    """Train ``method.unet`` in place; at the end it holds the moving average of its weights.

    The host waits for the device once every ``config.log_every`` steps and before a checkpoint, when it reads the losses of
    the steps since. Of several processes (``accelerate launch``), each works on a batch of its own in every step, and only
    the first writes and makes the calls below.

    Args:
        method: the U-Net to train and its losses.
        data: the encoded training set.
        config: the section ``train``.
        workplace: checkpoints and losses; training resumes from the newest checkpoint.
        on_step: called for every step, once its losses are read, with the losses, learning rate, gradient norm and speed.
        on_checkpoint: called for every checkpoint once it is whole, while the U-Net holds the average of its weights so far;
            and again when training resumes from it, because a kill may have prevented the first call.

    Returns:
        The number of steps that had been done before.

    Raises:
        InputError: the loss or the gradient of a step is not finite; nothing was saved since.
    """
    training = _Training(method, data, config, workplace)
    is_main = training.accelerator.is_main_process
    done = training.resume()
    if done and is_main:
        with training.averaged():
            on_checkpoint(done, workplace.checkpoint(done))
    with tqdm(initial=done, total=config.steps, desc=workplace.stage, unit="step", mininterval=1, disable=not is_main) as bar:
        for step in range(done, config.steps):
            training.train_step(step)
            bar.update()
            is_checkpoint = (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps
            if is_checkpoint or (step + 1) % config.log_every == 0:
                loss = training.report(on_step)
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            if is_checkpoint:
                training.save(step + 1, on_checkpoint)
    training.finish()
    return done


def autocast(precision: str, place: str) -> torch.autocast:
    """Return what casts the products of a step to ``train.precision``, on a type of device.

    A pass uses a weight once, so keeping its cast would take memory for nothing.
    """
    half = HALVES.get(precision)
    return torch.autocast(place, half, enabled=half is not None, cache_enabled=False)


def _allow_tf32(allowed: bool) -> None:
    """Let the GPU round the factors of products in fp32 to 11 binary digits, or not."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


class _Training:
    """The weights, optimisers and moving average of a training, and what a step does with them."""

    def __init__(self, method: Method[Any], data: TrainingSet, config: Train, workplace: Workplace) -> None:
        self.method, self.data, self.config, self.workplace = method, data, config, workplace
        self.accelerator = Accelerator(
            mixed_precision="no",  # the steps are cast below: accelerate refuses fp16 on processors
            # Only the block whose turn it is has gradients.
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        place = self.accelerator.device.type
        self.autocast = partial(autocast, config.precision, place)
        _allow_tf32(config.precision == "tf32")
        # In fp16 small gradients vanish unless the loss is scaled up.
        self.scaler = torch.amp.GradScaler(place, enabled=config.precision == "fp16")
        self.learning_rate = learning_rates(config)
        self.samples_per_step = config.batch * config.accumulation * self.accelerator.num_processes
        method.unet.requires_grad_(False)
        if config.gradient_checkpointing:
            method.enable_gradient_checkpointing()
        self.blocks = method.blocks()
        # One optimiser per block, stepped only when its block is on: AdamW decays weights even where the gradient is zero.
        self.optimizers = {
            name: make_optimizer(block.requires_grad_(True).parameters(), config, on_gpu=place == "cuda")
            for name, block in self.blocks.items()
        }
        self.trained = nn.ModuleDict(dict(self.blocks))
        self.average = moving_average(self.trained, config.ema_decay, HOST if config.average_on_host else None)
        self.state: dict[str, nn.Module] = {"trained": self.trained, "average": self.average}
        self.unread: list[tuple[int, Terms]] = []
        self.started = 0.0  # when the first unread step began

    def resume(self) -> int:
        """Restore the newest checkpoint of at most ``config.steps`` steps, and return the number of its steps."""
        if self.accelerator.is_main_process:
            self.workplace.rewind(self.config.steps)
        self.accelerator.wait_for_everyone()
        checkpoints = self.workplace.checkpoints()
        done = load_state(checkpoints[-1], self.state, self.optimizers, self.scaler) if checkpoints else 0
        self.network = compiled(self.accelerator.prepare(self.method.unet), self.config)
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        self.batches = load_batches(self.data, self.config, done * self.samples_per_step, rank=rank, world=world)
        return done

    def train_step(self, step: int) -> None:
        """Update the block whose turn it is, and keep the mean of every term and the gradient norm to be read later."""
        if not self.unread:
            self.started = time.perf_counter()
        active = list(self.blocks)[step % len(self.blocks)]
        for name, block in self.blocks.items():
            block.requires_grad_(name == active)
        optimizer = self.optimizers[active]
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate(step)
        terms = self._accumulate_gradients()
        self.scaler.unscale_(optimizer)
        norm = self.accelerator.clip_grad_norm_(self.blocks[active].parameters(), self.config.max_gradient_norm)
        self.scaler.step(optimizer)
        self.scaler.update()
        optimizer.zero_grad()
        self.average.update_parameters(self.trained)
        self.unread.append((step, {**terms, "gradient_norm": norm.double()}))

    def report(self, on_step: Callable[[int, StepLog], None]) -> float:
        """Write the losses of every unread step, and pass them on with the speed; return the loss of the last.

        Raises:
            InputError: the loss or the gradient of a step is not finite; that step is not written.
        """
        loss = math.nan
        logs = self._read()
        may_overflow = self.scaler.is_enabled() and self.scaler.get_scale() >= LEAST_SCALE
        speed = self.samples_per_step * len(self.unread) / (time.perf_counter() - self.started)
        for step, log in logs:
            loss = log["total"]
            self._check_finite("loss", loss, step)
            if not may_overflow:  # else the step was left out, and the loss of the next is scaled by half as much
                self._check_finite("gradient", log["gradient_norm"], step)  # it can be infinite where the loss is not
            if self.accelerator.is_main_process:
                self.workplace.append_losses(step, log)
                on_step(step, {**log, "samples_per_second": speed})
        self.unread.clear()
        return loss

    def save(self, step: int, on_checkpoint: Callable[[int, Path], None]) -> None:
        """Write a checkpoint, and remove the oldest beyond ``config.keep_checkpoints``."""
        if self.accelerator.is_main_process:
            path = self.workplace.checkpoint(step)
            save_state(path, self.state, self.optimizers, step, self.scaler)
            for old in self.workplace.checkpoints()[: -self.config.keep_checkpoints]:
                old.unlink()
            with self.averaged():
                on_checkpoint(step, path)
        self.accelerator.wait_for_everyone()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Have the U-Net hold the moving average of its weights in the block, for edits and scores; the two change places."""
        self._swap()
        _allow_tf32(False)
        try:
            yield
        finally:
            self._swap()
            _allow_tf32(self.config.precision == "tf32")

    def finish(self) -> None:
        """Leave the moving average in the U-Net."""
        self.trained.load_state_dict(self.average.module.state_dict())
        self.method.unet.requires_grad_(False)
        _allow_tf32(False)

    def _swap(self) -> None:
        for weight, average in zip(self.trained.parameters(), self.average.module.parameters(), strict=True):
            # Copies only where the average lies on the host.
            weight.data, average.data = average.data.to(weight.device), weight.data.to(average.device)

    def _accumulate_gradients(self) -> Terms:
        """Add up the gradients of ``config.accumulation`` batches, and return the mean of every term."""
        sums: Terms = {}
        for micro in range(self.config.accumulation):
            is_last = micro + 1 == self.config.accumulation
            numbers, batch = next(self.batches)
            with nullcontext() if is_last else self.accelerator.no_sync(self.network):
                for name, mean in self._forward_backward(numbers, batch).items():
                    share = mean.double() / self.config.accumulation
                    sums[name] = sums[name] + share if name in sums else share
        return sums

    def _forward_backward(self, numbers: list[int], batch: Batch) -> Terms:
        """Add the gradient of one batch, and return the mean of every term over its samples."""
        draws = self.method.draw(batch.z1.shape[1:], self.config.seed, numbers)
        with self.autocast():
            terms = self.method.losses(self.network, batch, draws)
            loss = terms["total"].mean() / self.config.accumulation
        self.accelerator.backward(self.scaler.scale(loss))
        return {name: values.detach().mean() for name, values in terms.items()}

    def _read(self) -> list[tuple[int, StepLog]]:
        """Return the log of every unread step, the mean over all processes.

        The host waits for the device and for the other processes here, and nowhere else.
        """
        own = torch.stack([torch.stack(list(terms.values())) for _, terms in self.unread])
        rows = self.accelerator.reduce(own, reduction="mean").tolist()
        logs: list[tuple[int, StepLog]] = []
        for (step, terms), (*means, norm) in zip(self.unread, rows, strict=True):
            losses = dict(zip(terms, means, strict=False))  # without the last, the gradient norm
            logs.append((step, {**losses, "learning_rate": self.learning_rate(step), "gradient_norm": norm}))
        return logs

    def _check_finite(self, name: str, value: float, step: int) -> None:
        if math.isfinite(value):
            return
        if not self.accelerator.is_main_process:
            with suppress(RuntimeError):  # a launcher ends all processes with the first that leaves, which has to say why
                self.accelerator.wait_for_everyone()
            sys.exit(2)
        kept, stage = self.workplace.checkpoints(), self.workplace.stage
        where = f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"
        raise InputError(f"{stage}: the {name} of step {step} is {value}; {where}; try a lower {stage}.learning_rate")
