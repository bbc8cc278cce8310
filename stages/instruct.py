"""Stage instruct: train InstructPix2Pix (Brooks et al. 2023) on the paired dataset, to compare the editor with."""

import shutil
from datetime import timedelta
from pathlib import Path

from accelerate import PartialState
from diffusers import UNet2DConditionModel

import stages.models
from stages.errors import InputError
from stages.files import file_digest, folder_digest, read_json, remove, value_digest, write_json, written_aside
from stages.models import identity, load_clip, load_diffusion, locate
from stages.params import PARAMS_FILE, Params
from stages.provenance import source_digest
from stages.shards import StageCounts, count_samples, list_shards
from stages.tracking.training_run import TrainingRun, start_training
from stages.training import dataset, instruction, loop
from stages.training.outcome import Outcome

TRAINING = Path("data/training")
CACHE = Path("data/cache")  # that of the stage train: both train on the same rows
OUTCOME = Outcome(model=Path("models/instruct_pix2pix"), losses=Path("models/instruct_losses.csv"))
UNFINISHED = Path("models/instruct_unfinished")  # checkpoints; removed when the model is whole and its run finished
COPIED = ("vae", "text_encoder", "tokenizer", "scheduler")  # parts of the base that stay as they are
# Of ``train``, what decides a step of this training too; the base is known by its files, not by its name.
SHARED = {"prompts", "batch", "accumulation", "weight_decay", "warm_up", "max_gradient_norm", "ema_decay", "seed"}
SHARED |= {"precision", "gradient_checkpointing"}
PATIENCE = timedelta(days=7)  # of processes that wait until the first has encoded the training set


def instruct(params: Params) -> None:
    """Write ``models/instruct_pix2pix``, which diffusers' pipeline of that name loads, and the losses of every step.

    It starts from the same base and sees the same pairs in the same order as the stage train, for as many steps; all of
    its U-Net is trained. Several processes share the steps as in the stage train.
    """
    processes = PartialState(cpu=stages.models.device().type == "cpu", timeout=PATIENCE)
    config = params.train
    locate(config.base)
    locate(config.clip)
    shards = list_shards(TRAINING, ".tar")
    count = sum(count_samples(shard, ".tar") for shard in shards)
    if count == 0:
        raise InputError(f"{TRAINING}: no pair to train on; see what retrieve and segment dropped, and why")
    data = value_digest([file_digest(shard) for shard in shards])
    print_of = _fingerprint(params, data, processes.num_processes)
    workplace = loop.Workplace(folder=UNFINISHED, stage="instruct", fingerprint=print_of)
    fingerprint = value_digest([workplace.fingerprint, config.steps, source_digest(__file__)])
    run = UNFINISHED / f"{fingerprint[:16]}.run.json"  # of this training: another that was left is none of its business
    is_whole = OUTCOME.is_whole(fingerprint)
    done = config.steps
    if not processes.is_main_process:
        if not is_whole:
            _train(params, workplace, None)
        return
    if not is_whole or run.exists():
        with start_training(
            params,
            PARAMS_FILE,
            state_file=run,
            dataset=TRAINING,
            dataset_digest=data,
            samples=count,
            stage="instruct",
        ) as tracked:
            if is_whole:
                tracked.log_steps(OUTCOME.read_losses())
            else:
                unet, done = _train(params, workplace, tracked)
                OUTCOME.write_losses(workplace)
                _write_model(unet, locate(config.base))
                OUTCOME.put_seal(fingerprint)
            tracked.finish(folder_digest(OUTCOME.model))
    remove(UNFINISHED)
    per_step = config.batch * config.accumulation * processes.num_processes
    StageCounts(stage="instruct", done=(config.steps - done) * per_step, reused=done * per_step).report()


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
