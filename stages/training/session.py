"""A training that has something to do: models loaded, the training set encoded, steps taken, the outcome written and logged."""

from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from diffusers import UNet2DConditionModel

from stages.core.counts import read_figures
from stages.core.files import folder_digest, written_aside
from stages.core.params import Params
from stages.core.paths import ENCODED_HELD_OUT, HELD_OUT, START, TRAINING_SET
from stages.corpus.corpus import Corpus
from stages.models.clip import load_clip
from stages.models.hub import identity, locate
from stages.models.latent_diffusion import load_diffusion, load_unet
from stages.models.lora import has_lora, load_lora, save_lora
from stages.models.tensors import device
from stages.tracking.start import UNET
from stages.tracking.training_run import CHECKPOINTS, LORAS, TrainingInputs, TrainingRun, start_training
from stages.training import loop
from stages.training.dataset import TrainingSet
from stages.training.encoder import encode_training_set
from stages.training.method import Method
from stages.training.runner import Recipe, Training
from stages.training.validation import held_out_losses
from stages.training.workplace import StepLog, Workplace

PATIENCE = timedelta(days=7)  # how long processes wait until the training set is encoded
AnyMethod = TypeVar("AnyMethod", bound=Method[Any])


def train(params: Params, recipe: Recipe[AnyMethod], training: Training) -> int:
    """Train, unless the model is whole, and bring its run in MLflow to an end; return the number of steps done before."""
    processes = PartialState(cpu=device().type == "cpu", timeout=PATIENCE)
    workplace = Workplace(folder=recipe.unfinished, stage=recipe.stage, fingerprint=training.fingerprint)
    if not processes.is_main_process:
        _train(params, recipe, workplace, None)
        return 0
    inputs = TrainingInputs(
        stage=recipe.stage,
        params=params,
        dataset=TRAINING_SET,
        dataset_digest=training.dataset_digest,
        samples=training.samples,
        figures=read_figures(TRAINING_SET),
        tags=recipe.start.tags() if recipe.start is not None else {},
    )
    done = recipe.config.steps
    with start_training(inputs, training.run) as tracked:
        if training.is_whole:
            tracked.log_steps(recipe.outcome.read_losses())
        else:
            method, done = _train(params, recipe, workplace, tracked)
            _write_outcome(recipe, workplace, method.unet)
            recipe.outcome.put_seal(training.whole)
        tracked.finish(folder_digest(recipe.outcome.model))
    return done


def _train(
    params: Params, recipe: Recipe[AnyMethod], workplace: Workplace, tracked: TrainingRun | None
) -> tuple[AnyMethod, int]:
    """Return the trained method, and the number of steps done before; only the first process has a run to log to."""
    method = _make_method(params, recipe, is_main=tracked is not None)
    pictures = Corpus() if recipe.needs_target() else None

    def on_step(step: int, log: StepLog) -> None:
        if tracked is not None:
            tracked.log_step(step, log)
            if (step + 1) % recipe.config.checkpoint_every == 0 or step + 1 == recipe.config.steps:
                tracked.settle()  # a training that resumes sends what belongs to its newest checkpoint, and not to older ones

    def on_checkpoint(step: int, path: Path) -> None:
        if tracked is None:
            return
        tracked.log_steps(workplace.read_losses())
        if recipe.preview is not None and not tracked.has_artifact(path, CHECKPOINTS):
            if recipe.held_out:
                held_out = TrainingSet(ENCODED_HELD_OUT, HELD_OUT, pictures=pictures)
                tracked.log_validation(step - 1, held_out_losses(method, held_out, recipe.config))
            tracked.log_image("edits", recipe.preview(method), step)
            if has_lora(method.unet):
                save_lora(method.unet, workplace.lora(step), identity(recipe.config.base))
                tracked.log_artifact(workplace.lora(step), f"{LORAS}/{step:08d}")
            tracked.log_artifact(path, CHECKPOINTS)  # after it, so that a logged checkpoint always has its picture
            tracked.keep_artifacts([kept.name for kept in workplace.checkpoints()], CHECKPOINTS)

    data = TrainingSet(pictures=pictures)
    done = loop.fine_tune(method, data, recipe.config, workplace, on_step=on_step, on_checkpoint=on_checkpoint)
    return method, done


def _make_method(params: Params, recipe: Recipe[AnyMethod], *, is_main: bool) -> AnyMethod:
    """Return the method, once the training set is encoded.

    Every process loads the models, which may be damaged, before hours of encoding. The first has its executor encode the
    pairs meanwhile, with workers of their own, and all of them meet when these are done.
    """
    config, processes = recipe.config, PartialState()
    method = recipe.make(load_diffusion(config.base), load_clip(config.clip))
    if recipe.continues:  # after the method has kept the base, if it needs that as a teacher
        _load_start(method.unet)
    if is_main:
        draws = config.steps * config.batch * config.accumulation * processes.num_processes
        encode_training_set(config, draws, params.execution)
        if recipe.held_out:
            encode_training_set(config, recipe.held_out, params.execution, folder=HELD_OUT, cache=ENCODED_HELD_OUT)
    processes.wait_for_everyone()
    return method


def _load_start(unet: UNet2DConditionModel) -> None:
    """Give a U-Net the weights in START; one that trains a LoRA takes that alone, so that it still adds to the base."""
    if has_lora(unet):
        load_lora(unet, START / UNET)
    else:
        weights = unet.state_dict()
        for name, new in load_unet(START).state_dict().items():
            if not torch.equal(weights[name].to(new), new):
                weights[name] = new  # in place of the old one, which the teacher may share; it shares those that are equal, too
        unet.load_state_dict(weights, assign=True)


def _write_outcome(recipe: Recipe[AnyMethod], workplace: Workplace, unet: UNet2DConditionModel) -> None:
    unet.register_to_config(sample_size=TrainingSet().latent_side)  # its editor works at the size of these pictures
    recipe.outcome.write_losses(workplace)
    with written_aside(recipe.outcome.model) as folder:
        recipe.write(unet, locate(recipe.config.base), folder)
