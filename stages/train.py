"""Stage train: fine-tune the latent diffusion model on the paired dataset (Eq 2–12)."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.files import write_json
from stages.core.params import Params
from stages.core.paths import IEDIT, IEDIT_LOSSES, IEDIT_UNFINISHED
from stages.editing.settings import SETTINGS_FILE
from stages.models.copying import copy_model, halve
from stages.models.hub import identity
from stages.models.layout import LORA
from stages.tracking.start import read_start
from stages.training.inputs import check_pairs, find_training_set
from stages.training.model_folder import save_unet
from stages.training.outcome import Outcome
from stages.training.runner import METHODS, Recipe, run_training

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel
    from PIL import Image

    from stages.models.clip import Clip
    from stages.models.latent_diffusion import Diffusion
    from stages.training.iedit import IEdit

# Keys of ``train`` that do not change what a step does, and models, which are known by their files.
NOT_DECISIVE = {"steps", "log_every", "checkpoint_every", "keep_checkpoints", "loader_workers", "base", "clip", "vgg"}
NOT_DECISIVE |= {"continue_from", "continuation"}  # the weights that a training starts from decide
NOT_DECISIVE |= {"save_half"}  # it decides how the weights are written
NOT_DECISIVE |= {"batch"}  # that of all processes together decides
NOT_DECISIVE |= {"validation_pairs"}


def train(params: Params) -> None:
    """Write ``models/iedit``, a diffusers folder, and ``models/losses.csv``, the losses of every step."""
    config, start = params.train, None
    written: dict[str, Any] = {"sampling": params.sampling.model_dump()}
    check_pairs(params)
    written |= {} if params.precision == "fp32" else {"precision": params.precision}  # settings without it stand for fp32
    if config.continue_from == "champion":
        start = read_start(config, find_training_set()[0])
        if start.version is not None:
            config = config.model_copy(update={"steps": math.ceil(config.steps * config.continuation.steps_share)})
            written |= {"start": start.model}  # so that each model names the one that it continues

    def make(diffusion: "Diffusion", clip: "Clip") -> "IEdit":
        from stages.models.vgg import load_vgg
        from stages.training.iedit import IEdit

        chosen = (config.losses, config.unconditional, config.parameters)
        return IEdit(diffusion, clip, load_vgg(config.vgg), *chosen, lora_rank=config.lora_rank, seed=config.seed)

    def needs_target() -> bool:
        from stages.diffusion.losses import active_terms

        return any(term.needs_target for term in active_terms(config.losses))

    def preview(method: "IEdit") -> "Image.Image":
        from stages.training.preview import preview_edits

        return preview_edits(method.networks.diffusion, params)

    def write(unet: "UNet2DConditionModel", base: Path, folder: Path) -> None:
        """Write what is read of the base, byte for byte, except the U-Net's weights; a LoRA; and the settings of the editor."""
        from stages.models.lora import has_lora, merge_lora, save_lora

        copy_model(base, folder, without="unet")
        if has_lora(unet):
            save_lora(unet, folder / LORA, identity(config.base))
            merge_lora(unet)
        save_unet(unet, base, folder)
        if config.save_half:
            halve(folder / "unet")
        write_json(folder / SETTINGS_FILE, written)

    recipe = Recipe(
        stage="train",
        outcome=Outcome(model=IEDIT, losses=IEDIT_LOSSES),
        unfinished=IEDIT_UNFINISHED,
        config=config,
        decisive={"train": config.model_dump(mode="json", exclude=NOT_DECISIVE)},
        models=(config.base, config.clip, config.vgg),
        code=METHODS / "iedit.py",
        make=make,
        needs_target=needs_target,
        start=start,
        preview=preview,
        held_out=config.validation_pairs,
        writer=__file__,
        written=written | {"half": config.save_half},
        write=write,
    )
    run_training(params, recipe)
