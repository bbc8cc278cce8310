"""Stage train: fine-tune the latent diffusion model on the paired dataset (Eq 2-12)."""

import csv
import json
import shutil
from itertools import islice
from pathlib import Path

from diffusers import UNet2DConditionModel
from PIL import Image

import stages.models
from stages.corpus.samples import EditSample, read_edits
from stages.diffusion import losses, noise
from stages.editor import Editor
from stages.files import TEMPORARY_SUFFIX, file_digest, folder_digest, value_digest, write_json, written_aside
from stages.models import (
    Diffusion,
    identity,
    load_clip,
    load_diffusion,
    load_segmenter,
    load_vgg,
    locate,
    mask_to_tensor,
    to_images,
    to_tensor,
)
from stages.params import PARAMS_FILE, Params
from stages.requests import SETTINGS_FILE
from stages.run import InputError, run
from stages.shards import StageCounts, count_samples, list_shards, source_digest
from stages.tracking.training_run import start_training
from stages.training import dataset, loop, objective

TRAINING = Path("data/training")
CACHE = Path("data/cache")  # the training set as the frozen encoders see it: made anew when missing, no out of DVC
MODEL = Path("models/iedit")
LOSSES = Path("models/losses.csv")
UNFINISHED = Path("models/unfinished")  # checkpoints; emptied when the model is written
SHOWN = 4  # training pairs whose edits are logged at every checkpoint
UNHASHED = {"steps", "checkpoint_every", "keep_checkpoints"}  # of ``train``: they do not change what a step does


def train(params: Params) -> None:
    """Write ``models/iedit``, a diffusers folder, and ``models/losses.csv``, the losses of every step."""
    config = params.train
    shards = list_shards(TRAINING, ".tar")
    count = sum(count_samples(shard, ".tar") for shard in shards)
    if count == 0:
        raise InputError(f"{TRAINING}: no pair to train on; see what retrieve and segment dropped, and why")
    dataset_digest = value_digest([file_digest(shard) for shard in shards])
    workplace = loop.Workplace(folder=UNFINISHED, fingerprint=_fingerprint(params, dataset_digest))
    with start_training(
        params,
        PARAMS_FILE,
        state_file=UNFINISHED / "run.json",
        dataset=TRAINING,
        dataset_digest=dataset_digest,
        samples=count,
    ) as tracked:
        diffusion, clip = load_diffusion(config.base), load_clip(config.clip)
        encoded = dataset.encode_training_set(TRAINING, CACHE, config, diffusion, clip)
        editor = Editor(diffusion, load_segmenter(params.evaluate.segmenter))
        shown = list(islice((sample for shard in shards for sample in read_edits(shard)), SHOWN))

        def on_checkpoint(step: int, path: Path) -> None:
            tracked.log_artifact(path, "checkpoints")
            tracked.log_image("edits", _show(editor, shown, params), step)

        loop.fine_tune(
            diffusion.unet,
            objective.Objective(diffusion, clip, load_vgg(config.vgg), config.losses),
            dataset.TrainingSet(CACHE),
            config,
            params.seed,
            workplace,
            on_step=tracked.log_step,
            on_checkpoint=on_checkpoint,
        )
        _write_losses(workplace.losses)
        _write_model(diffusion, locate(config.base), params)
        tracked.finish(folder_digest(MODEL))
    shutil.rmtree(UNFINISHED)
    StageCounts(stage="train", done=config.steps * config.batch * config.accumulation, reused=encoded.reused).report()


def _fingerprint(params: Params, dataset_digest: str) -> str:
    """Return a digest of all that decides the weights after a given number of steps."""
    config = params.train
    code = source_digest(stages.models, losses, noise, dataset, objective, loop)
    models = [identity(model) for model in (config.base, config.clip, config.vgg)]
    settings = config.model_dump(mode="json", exclude=UNHASHED)
    return value_digest({"train": settings, "seed": params.seed, "data": dataset_digest, "models": models, "code": code})


def _show(editor: Editor, shown: list[EditSample], params: Params) -> Image.Image:
    """Return a sheet of edits of some training pairs as the model is now: source, pseudo-target, edit a row."""
    unet: UNet2DConditionModel = editor.diffusion.unet
    unet.eval()
    edits = editor.edit_batch(
        to_tensor([sample.source for sample in shown]),
        [sample.edit_prompt for sample in shown],
        masks=mask_to_tensor([sample.source_mask for sample in shown]),
        sampling=params.sampling,
        seed=params.seed,
        keys=[sample.key for sample in shown],
    )
    side = shown[0].source.width
    sheet = Image.new("RGB", (3 * side, len(shown) * side))
    for row, (sample, edit) in enumerate(zip(shown, to_images(edits), strict=True)):
        for column, picture in enumerate((sample.source, sample.target, edit)):
            sheet.paste(picture, (column * side, row * side))
    return sheet


def _write_losses(log: Path) -> None:
    """Write the losses of every step as CSV, for plots."""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    with written_aside(LOSSES) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: value if key == "step" else f"{value:.6g}" for key, value in row.items()} for row in rows)


def _write_model(diffusion: Diffusion, base: Path, params: Params) -> None:
    """Write the model: every file of the base, byte for byte, but for the U-Net's weights."""
    aside = MODEL.with_name(MODEL.name + TEMPORARY_SUFFIX)
    shutil.rmtree(aside, ignore_errors=True)
    weights = shutil.ignore_patterns("*.bin", "*.ckpt", "*.pt", ".*")
    shutil.copytree(base, aside, ignore=weights, copy_function=shutil.copyfile)
    shutil.rmtree(aside / "unet")
    diffusion.unet.save_pretrained(aside / "unet")
    shutil.copyfile(base / "unet" / "config.json", aside / "unet" / "config.json")  # diffusers' has the path of the base in it
    write_json(aside / SETTINGS_FILE, {"sampling": params.sampling.model_dump()})
    shutil.rmtree(MODEL, ignore_errors=True)
    aside.rename(MODEL)


if __name__ == "__main__":
    run(train)
