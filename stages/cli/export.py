"""``iedit export``: a registered model as a folder for diffusers."""

import argparse
import shutil

from stages.core.errors import InputError
from stages.core.files import written_aside
from stages.editing.settings import SETTINGS_FILE
from stages.models.copying import copy_model, halve
from stages.models.lora import LORA_FILE
from stages.tracking.card import CARD
from stages.tracking.errors import store_errors_in_one_line
from stages.tracking.registry import NAME, fetch_model, fetch_trained, find_version
from stages.tracking.store import connect


def export(options: argparse.Namespace) -> None:
    """Write a registered model, its LoRA if it has one, its settings and its model card to a folder, and print how to open it.

    Raises:
        InputError: there is no such version, its files are gone, or the folder exists.
        NoRoomError: the disk or a quota is full.
    """
    if options.folder.exists():
        raise InputError(f"{options.folder}: exists already; name a new folder")
    with store_errors_in_one_line():
        uri = f"models:/{NAME}/{find_version(options.model).version}"  # an alias may move meanwhile
        client = connect(create=False)
        model, version = fetch_trained(client, uri), fetch_model(client, uri)
    with written_aside(options.folder) as folder:
        copy_model(model, folder)
        if options.half:
            halve(folder)
        for file in (model / SETTINGS_FILE, model / LORA_FILE, version / CARD):
            if file.is_file():  # not every training writes a LoRA, and a version from before there were model cards has none
                shutil.copyfile(file, folder / file.name)
    print(f'{options.folder}: diffusers.DiffusionPipeline.from_pretrained("{options.folder}") opens it')
