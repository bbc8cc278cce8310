"""Stage instruct: train InstructPix2Pix (Brooks et al. 2023) on the paired dataset, to compare the editor with."""

import shutil
from functools import partial
from pathlib import Path

from accelerate import PartialState
from diffusers import UNet2DConditionModel

from stages.core.files import read_json, value_digest, write_json, written_aside
from stages.core.params import Params
from stages.core.provenance import source_digest
from stages.models.clip import load_clip
from stages.models.hub import identity, locate
from stages.models.latent_diffusion import load_diffusion
from stages.tracking.training_run import TrainingRun
from stages.training import dataset, loop
from stages.training import instruct_pix2pix as instruction
from stages.training.outcome import Outcome
from stages.training.stage import CACHE, TRAINING, run_training

OUTCOME = Outcome(model=Path("models/instruct_pix2pix"), losses=Path("models/instruct_losses.csv"))
UNFINISHED = Path("models/instruct_unfinished")  # checkpoints; removed when the model is whole and its run finished
COPIED = ("vae", "text_encoder", "tokenizer", "scheduler")  # parts of the base that stay as they are
# Of ``train``, what decides a step of this training too; the base is known by its files, not by its name.
SHARED = {"prompts", "batch", "accumulation", "weight_decay", "warm_up", "max_gradient_norm", "ema_decay", "seed"}
SHARED |= {"precision", "gradient_checkpointing"}


def instruct(params: Params) -> None:
    """Write ``models/instruct_pix2pix``, which diffusers' pipeline of that name loads, and the losses of every step.

    It starts from the same base and sees the same pairs in the same order as the stage train, for as many steps; all of
    its U-Net is trained. Several processes share the steps as in the stage train.
    """
    base = params.train.base
    locate(base)
    locate(params.train.clip)
    run_training(
        params,
        stage="instruct",
        outcome=OUTCOME,
        unfinished=UNFINISHED,
        fingerprint=partial(_fingerprint, params),
        decisive=[source_digest(__file__)],
        fit=partial(_train, params),
        write=lambda unet: _write_model(unet, locate(base)),
    )


def _train(params: Params, workplace: loop.Workplace, tracked: TrainingRun | None) -> tuple[UNet2DConditionModel, int]:
    """Return the trained U-Net, and how many of its steps had been done before."""
    config = params.train
    diffusion = load_diffusion(config.base)
    if tracked is not None:
        dataset.encode_training_set(TRAINING, CACHE, config, diffusion, load_clip(config.clip))
    PartialState().wait_for_everyone()
    unet = instruction.widen(diffusion.unet)

    def on_step(step: int, log: loop.StepLog) -> None:
        if tracked is not None:
            tracked.log_step(step, log)

    def on_checkpoint(step: int, path: Path) -> None:  # noqa: ARG001 - four times the model: it stays on the disk
        if tracked is not None:
            tracked.log_steps(workplace.read_losses())

    changes = {"learning_rate": params.instruct.learning_rate, "unconditional": params.instruct.dropout}
    done = loop.fine_tune(
        unet,
        instruction.Objective(diffusion),
        dataset.TrainingSet(CACHE),
        config.model_copy(update=changes),
        config.seed,
        workplace,
        on_step=on_step,
        on_checkpoint=on_checkpoint,
        trainable=instruction.whole,
        draw=instruction.draw,
    )
    return unet, done


def _fingerprint(params: Params, dataset_digest: str, processes: int) -> str:
    """Return a digest of all that decides the weights after a given number of steps."""
    return value_digest(
        {
            "train": params.train.model_dump(mode="json", include=SHARED),
            "instruct": params.instruct.model_dump(),
            "data": dataset_digest,
            "base": identity(params.train.base),
            "code": [source_digest(str(module.__file__)) for module in (loop, instruction)],
            "processes": processes,
        }
    )


def _write_model(unet: UNet2DConditionModel, base: Path) -> None:
    """Write the model: the parts of the base byte for byte, the U-Net, and an index that names diffusers' pipeline."""
    weights = shutil.ignore_patterns("*.bin", "*.ckpt", "*.pt", ".*")
    with written_aside(OUTCOME.model) as aside:
        for part in COPIED:
            shutil.copytree(base / part, aside / part, ignore=weights, copy_function=shutil.copyfile)
        unet.save_pretrained(aside / "unet")
        config = read_json(base / "unet" / "config.json")  # diffusers' own has the base's path in it
        write_json(aside / "unet" / "config.json", config | {"in_channels": unet.config.in_channels})
        index = read_json(base / "model_index.json")
        parts = {part: index[part] for part in (*COPIED, "unet")}
        nothing = dict.fromkeys(("safety_checker", "feature_extractor", "image_encoder"), (None, None))
        name = "StableDiffusionInstructPix2PixPipeline"
        write_json(aside / "model_index.json", {"_class_name": name, "requires_safety_checker": False, **parts, **nothing})
