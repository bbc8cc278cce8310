"""``iedit edit``: edit one picture."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from stages.common.text import one_line
from stages.core.errors import InputError
from stages.core.files import lack_of_room, written_aside
from stages.core.params import Sampling
from stages.editing.pictures import read_mask, read_picture, write_picture
from stages.editing.settings import adjust_sampling, check_images, check_prompt
from stages.tracking.location import check_store

if TYPE_CHECKING:  # slow to import; a mistake in the arguments must be reported at once
    from stages.editing.editor import Editor

FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
HELP = "--source-term names what stands there now, --mask says where, --no-mask edits the whole picture"


def edit(options: argparse.Namespace) -> None:
    """Edit one picture, and print where the results are.

    Raises:
        InputError: an argument is invalid, a picture cannot be read or written, or there is no such model.
    """
    outputs = name_outputs(options.output, check_images(options.images))
    prompt = check_prompt(options.prompt)
    term, source_term = one_line(options.term) or None, one_line(options.source_term) or None
    negative_prompt = one_line(options.negative_prompt)
    picture = read_picture(options.image)
    mask = None if options.mask is None else read_mask(options.mask)
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    editor, sampling, name = load_model(options.model)

    from stages.editing.job import EditJob
    from stages.editing.metadata import describe
    from stages.editing.request import EditRequest, MaskMode, NothingToMaskError

    request = EditRequest(
        image=picture,
        prompt=prompt,
        negative_prompt=negative_prompt,
        mask=mask,
        term=term,
        source_term=source_term,
        context=options.context,
    )
    changes = {"strength": options.strength, "guidance_scale": options.guidance_scale, "steps": options.steps}
    job = EditJob(
        request=request,
        mask_mode=MaskMode.NONE if options.no_mask else MaskMode.PREDICTED if mask is None else MaskMode.GIVEN,
        sampling=adjust_sampling(sampling, **changes),
        images=options.images,
        seed=options.seed,
    )
    _warn_of_unknown_words(editor, prompt)
    try:
        (result,) = editor.edit_many([editor.plan(job)])
    except NothingToMaskError as error:
        raise InputError(f"{error}: {HELP}") from error
    for number, (path, image) in enumerate(zip(outputs, result.images, strict=True)):
        _save(image, path, describe(job, number, name))
        print(path)


def _warn_of_unknown_words(editor: "Editor", prompt: str) -> None:
    from stages.models.prompts import unknown_words

    if unknown := unknown_words(editor.diffusion.prompts.tokenizer.backend_tokenizer, prompt):
        words = ", ".join(dict.fromkeys(unknown))
        print(f"warning: the model's vocabulary lacks half or more of the words of the prompt: {words}", file=sys.stderr)


def load_model(model: str) -> "tuple[Editor, Sampling, str]":
    """Return an editor, its sampling settings, and the name by which its results know it.

    Args:
        model: a URI of the registry, or a folder, which is used with the segmenter of params.yaml.

    Raises:
        InputError: there is no such model.
    """
    if model.startswith("models:/"):
        check_store()  # before the slow imports

        from stages.tracking.errors import store_errors_in_one_line
        from stages.tracking.registry import exact_uri, load_editor

        with store_errors_in_one_line():
            uri = exact_uri(model)
            return *load_editor(uri), uri
    folder = Path(model)
    if not folder.is_dir():
        raise InputError(f"model {model}: neither a folder nor models:/NAME@ALIAS nor models:/NAME/VERSION")

    from stages.editing.loading import load_folder

    return *load_folder(folder), folder.resolve().name


def name_outputs(path: Path, images: int) -> list[Path]:
    """Return the paths of the results: edited.png or, for several, edited-1.png and so on.

    Raises:
        InputError: nothing can be written there.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"output {path}: its name must end in one of {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise InputError(f"output {path}: no such folder: {path.parent}")
    outputs = [path] if images == 1 else [path.with_stem(f"{path.stem}-{number}") for number in range(1, images + 1)]
    folder = next((output for output in outputs if output.is_dir()), None)
    if folder is not None:
        raise InputError(f"output {folder}: is a folder")
    return outputs


def _save(picture: Image.Image, path: Path, xmp: bytes) -> None:
    """Write a picture with what it says about itself, whole or not at all.

    Raises:
        InputError: the system does not allow it.
    """
    try:
        with written_aside(path) as temporary:
            write_picture(picture, temporary, FORMATS[path.suffix.lower()], xmp)
    except OSError as error:
        raise InputError(f"output {path}: {lack_of_room(error) or error.strerror or error}") from error
