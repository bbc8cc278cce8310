"""Stage train: fine-tune the latent diffusion model on the paired dataset (Eq 2-12)."""

import shutil
from functools import partial
from itertools import islice
from pathlib import Path

from accelerate import PartialState
from diffusers import UNet2DConditionModel
from PIL import Image

from stages.core.files import value_digest, write_json, written_aside
from stages.core.params import Params
from stages.core.provenance import source_digest
from stages.core.shards import list_shards
from stages.corpus.samples import EditSample, read_edits
from stages.editing.editor import Editor
from stages.editing.settings import SETTINGS_FILE
from stages.models.clip import load_clip
from stages.models.hub import identity, locate
from stages.models.latent_diffusion import Diffusion, load_diffusion
from stages.models.tensors import mask_to_tensor, to_images, to_tensor
from stages.models.vgg import load_vgg
from stages.tracking.training_run import TrainingRun
from stages.training import dataset, loop
from stages.training import iedit as objective
from stages.training.outcome import Outcome
from stages.training.stage import CACHE, TRAINING, run_training

OUTCOME = Outcome(model=Path("models/iedit"), losses=Path("models/losses.csv"))
UNFINISHED = Path("models/unfinished")  # checkpoints; removed when the model is whole and its run finished
SHOWN = 4  # training pairs whose edits are logged at every checkpoint
# Of ``train``, what does not change what a step does; models are known by their files, not by their names.
UNHASHED = {"steps", "log_every", "checkpoint_every", "keep_checkpoints", "base", "clip", "vgg"}


def train(params: Params) -> None:
    """Write ``models/iedit``, a diffusers folder, and ``models/losses.csv``, the losses of every step.

    Of several processes (``accelerate launch -m stages train``) all take the steps, and the first does all else.
    """
    config = params.train
    for model in (config.base, config.clip, config.vgg):
        locate(model)
    run_training(
        params,
        stage="train",
        outcome=OUTCOME,
        unfinished=UNFINISHED,
        fingerprint=partial(_fingerprint, params),
        decisive=[params.sampling.model_dump(), source_digest(__file__)],
        fit=partial(_fine_tune, params),
        write=lambda diffusion: _write_model(diffusion, locate(config.base), params),
    )


def _fine_tune(params: Params, workplace: loop.Workplace, tracked: TrainingRun | None) -> tuple[Diffusion, int]:
    """Return the trained model, and how many steps of it had been done before; the first process has a run to log to."""
    config = params.train
    diffusion, clip, vgg = load_diffusion(config.base), load_clip(config.clip), load_vgg(config.vgg)
    shown = list(islice((sample for shard in list_shards(TRAINING, ".tar") for sample in read_edits(shard)), SHOWN))
    if tracked is not None:
        dataset.encode_training_set(TRAINING, CACHE, config, diffusion, clip)
    PartialState().wait_for_everyone()

    def on_step(step: int, log: loop.StepLog) -> None:
        if tracked is not None:
            tracked.log_step(step, log)

    def on_checkpoint(step: int, path: Path) -> None:
        if tracked is None:
            return
        tracked.log_steps(workplace.read_losses())
        if not tracked.has_artifact(path, "checkpoints"):
            tracked.log_image("edits", _show(Editor(diffusion), shown, params), step)
            tracked.log_artifact(path, "checkpoints")  # last: where it is, the picture is

    done = loop.fine_tune(
        diffusion.unet,
        objective.Objective(diffusion, clip, vgg, config.losses),
        dataset.TrainingSet(CACHE),
        config,
        config.seed,
        workplace,
        on_step=on_step,
        on_checkpoint=on_checkpoint,
    )
    return diffusion, done


def _fingerprint(params: Params, dataset_digest: str, processes: int) -> str:
    """Return a digest of all that decides the weights after a given number of steps."""
    config = params.train
    code = source_digest(loop.__file__)
    models = [identity(model) for model in (config.base, config.clip, config.vgg)]
    settings = config.model_dump(mode="json", exclude=UNHASHED)
    inputs = {"train": settings, "data": dataset_digest, "models": models, "code": code, "processes": processes}
    return value_digest(inputs)


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


def _write_model(diffusion: Diffusion, base: Path, params: Params) -> None:
    """Write the model: every file of the base, byte for byte, but for the U-Net's weights."""
    weights = shutil.ignore_patterns("*.bin", "*.ckpt", "*.pt", ".*")
    with written_aside(OUTCOME.model) as aside:
        shutil.copytree(base, aside, ignore=weights, copy_function=shutil.copyfile)
        shutil.rmtree(aside / "unet")
        diffusion.unet.save_pretrained(aside / "unet")
        shutil.copyfile(base / "unet" / "config.json", aside / "unet" / "config.json")  # diffusers' has the base's path in it
        write_json(aside / SETTINGS_FILE, {"sampling": params.sampling.model_dump()})
