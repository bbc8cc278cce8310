"""The trained part of a diffusers folder; :mod:`stages.models.copying` copies the others from the base."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.files import read_json, remove, write_json

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel


def save_unet(unet: "UNet2DConditionModel", base: Path, folder: Path, **changes: Any) -> None:
    """Write ``folder/unet`` with the base's config.json, because the one that diffusers writes names the base's path.

    Args:
        unet: the trained U-Net.
        base: the folder of the base model.
        folder: the folder of the trained model.
        changes: what differs from the base's configuration.
    """
    remove(folder / "unet")
    unet.save_pretrained(folder / "unet")
    theirs, ours = base / "unet" / "config.json", folder / "unet" / "config.json"
    if changes:
        write_json(ours, read_json(theirs) | changes)
    else:
        shutil.copyfile(theirs, ours)
