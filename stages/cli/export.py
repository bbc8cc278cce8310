"""``iedit export``: a registered model, or its LoRA alone, as a folder for diffusers."""

import argparse
import shutil

from stages.core.errors import InputError
from stages.core.files import written_aside
from stages.editing.settings import SETTINGS_FILE
from stages.models.copying import copy_model, halve
from stages.models.layout import LORA
from stages.tracking.card import CARD
from stages.tracking.errors import store_errors_in_one_line
from stages.tracking.registry import NAME, fetch_model, fetch_trained, find_version
from stages.tracking.store import connect

OPENED = 'diffusers.DiffusionPipeline.from_pretrained("{}") opens it'
ADDED = 'load_lora_weights("{}") of a diffusers pipeline of the base adds it'


def export(options: argparse.Namespace) -> None:
    """Write a registered model or its LoRA, with its settings and its model card, to a folder, and print how to open it.

    Raises:
        InputError: there is no such version, it has no LoRA, its files are gone, or the folder exists.
        NoRoomError: the disk or a quota is full.
    """
    if options.folder.exists():
        raise InputError(f"{options.folder}: exists already; name a new folder")
    with store_errors_in_one_line():
        uri = f"models:/{NAME}/{find_version(options.model).version}"  # an alias may move meanwhile
        client = connect(create=False)
        model, version = fetch_trained(client, uri), fetch_model(client, uri)
    if options.lora and not (model / LORA).is_file():
        raise InputError(f"{uri}: was trained without a LoRA; leave out --lora")
    with written_aside(options.folder) as folder:
        if options.lora:
            folder.mkdir()
        else:
            copy_model(model, folder)
        for file in (model / SETTINGS_FILE, model / LORA, version / CARD):
            if file.is_file():  # an older version may lack its card, and most have no LoRA
                shutil.copyfile(file, folder / file.name)
        if options.half:
            halve(folder)
    print(f"{options.folder}: {(ADDED if options.lora else OPENED).format(options.folder)}")
