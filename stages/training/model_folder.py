"""The trained part of a diffusers folder; :mod:`stages.models.copying` copies the others from the base."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.files import read_json, remove, write_json

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

CHANGED = ("in_channels", "sample_size")
"""What a training may change of a U-Net's configuration; ``sample_size`` is the side of its latents, at which it then edits."""


def save_unet(unet: "UNet2DConditionModel", base: Path, folder: Path) -> None:
    """Write ``folder/unet`` with the base's config.json, but for CHANGED, because the one that diffusers writes names a path.

    Args:
        unet: the trained U-Net.
        base: the folder of the base model.
        folder: the folder of the trained model.
    """
    remove(folder / "unet")
    unet.save_pretrained(folder / "unet")
    theirs, ours = base / "unet" / "config.json", folder / "unet" / "config.json"
    config = read_json(theirs)
    changes = {name: unet.config[name] for name in CHANGED if unet.config[name] != config.get(name)}
    if changes:
        write_json(ours, config | changes)
    else:
        shutil.copyfile(theirs, ours)
