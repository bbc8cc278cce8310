"""Stage instruct: train InstructPix2Pix (Brooks et al. 2023) on the paired dataset, a competitor of iEdit.

Nothing is trained where ``evaluate.systems.instruct_pix2pix.model`` names a released checkpoint.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.files import read_json, remove, write_json, write_text, written_aside
from stages.core.params import ModelName, Params
from stages.core.paths import INSTRUCT_PIX2PIX, INSTRUCT_PIX2PIX_LOSSES, INSTRUCT_PIX2PIX_UNFINISHED
from stages.core.shards import StageCounts
from stages.models.copying import copy_model
from stages.models.families import ZEROS_FOR_EMPTY, family_of
from stages.models.layout import INDEX
from stages.training.inputs import check_pairs
from stages.training.model_folder import save_unet
from stages.training.outcome import Outcome
from stages.training.runner import METHODS, Recipe, run_training

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

    from stages.models.clip import Clip
    from stages.models.latent_diffusion import Diffusion
    from stages.training.instruct_pix2pix import InstructPix2Pix

# Keys of ``train`` that decide a step of this training too; the base is known by its files.
SHARED = {"prompts", "accumulation", "weight_decay", "warm_up", "max_gradient_norm", "ema_decay", "seed"}
SHARED |= {"learning_rate_schedule", "precision", "compile", "gradient_checkpointing", "optimizer"}
OUTCOME = Outcome(model=INSTRUCT_PIX2PIX, losses=INSTRUCT_PIX2PIX_LOSSES)
NOT_TRAINED = "Nothing was trained: evaluate.systems.instruct_pix2pix.model names a released checkpoint.\n"


def instruct(params: Params) -> None:
    """Write ``models/instruct_pix2pix``, which diffusers' pipeline of that name loads, and the losses of every step.

    Its training starts from the same base as the stage train and sees the same pairs in the same order for as many steps,
    but trains the whole U-Net.
    """
    if params.evaluate.systems.instruct_pix2pix.model is not None:
        _train_nothing()
        return
    check_pairs(params)
    config = params.train.model_copy(update=params.instruct.model_dump(exclude={"dropout"}))

    def make(diffusion: "Diffusion", _: "Clip") -> "InstructPix2Pix":
        from stages.models.tensors import HOST
        from stages.training.instruct_pix2pix import InstructPix2Pix

        method = InstructPix2Pix(diffusion, params.instruct.dropout)
        diffusion.to(HOST)  # no step needs the parts of the base
        return method

    recipe = Recipe(
        stage="instruct",
        outcome=OUTCOME,
        unfinished=INSTRUCT_PIX2PIX_UNFINISHED,
        config=config,
        decisive={"train": config.model_dump(mode="json", include=SHARED), "instruct": params.instruct.model_dump()},
        models=(config.base,),
        code=METHODS / "instruct_pix2pix.py",
        make=make,
        writer=__file__,
        written={},
        write=_write,
    )
    run_training(params, recipe)


def _train_nothing() -> None:
    """Leave a note where the model would be, and losses of no step; the table compares a released checkpoint."""
    for path in (OUTCOME.seal, INSTRUCT_PIX2PIX_UNFINISHED):
        remove(path)
    with written_aside(OUTCOME.model) as folder:
        folder.mkdir()
        (folder / "README.txt").write_text(NOT_TRAINED, encoding="utf-8")
    write_text(OUTCOME.losses, "step\n")
    StageCounts(stage="instruct").report()


def _write(unet: "UNet2DConditionModel", base: Path, folder: Path) -> None:
    """Write parts of the base byte for byte, the U-Net, and an index that names diffusers' pipeline."""
    family = family_of(ModelName(name=str(base)), base)
    copy_model(base, folder, without="unet")
    save_unet(unet, base, folder)
    index = read_json(base / INDEX)
    kept = {key: index[key] for key in (*family.untrained, "unet", ZEROS_FOR_EMPTY) if key in index}
    write_json(folder / INDEX, {"_class_name": family.pipelines[2], **family.index, **kept})
