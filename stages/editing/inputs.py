"""What callers ask of an editor, checked: pictures from files or base64, and the numbers of the sampling."""

import base64
import binascii
import io
from pathlib import Path

from PIL import Image, ImageOps
from pydantic import ValidationError

from stages.common.text import one_line
from stages.core.errors import InputError, describe_error
from stages.core.files import read_json
from stages.core.params import Sampling
from stages.corpus.images import Refused, decoded
from stages.corpus.parts import MAX_BYTES, printable

SETTINGS_FILE = "iedit.json"  # in a model's folder: how its edits are sampled unless the caller says otherwise
MAX_PIXELS = 50_000_000  # of a picture, known before it is decoded
MAX_IMAGES = 16  # of one request: they are made in one batch
FORMATS = ("PNG", "JPEG", "WEBP")


def read_picture(path: Path, name: str = "image") -> Image.Image:
    """Return the picture in a file, upright.

    Raises:
        InputError: it is not a picture that can be read.
    """
    name = f"{name} {printable(path)}"
    if not path.is_file():
        raise InputError(f"{name}: {'not a file' if path.exists() else 'no such file'}")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{name}: larger than {MAX_BYTES:,} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}") from error
    return _open(data, name)


def decode_picture(text: str, name: str = "image") -> Image.Image:
    """Return the picture in base64 text, upright.

    Raises:
        InputError: it is not base64, or not a picture that can be read.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{name}: not base64: {error}") from error
    return _open(data, name)


def encode_picture(image: Image.Image) -> str:
    """Return a picture as base64 of a PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def check_prompt(text: object, name: str = "prompt") -> str:
    """Return a prompt as words with single spaces between them, without control characters.

    Raises:
        InputError: there is no word in it.
    """
    prompt = one_line(text)
    if not prompt:
        raise InputError(f"{name}: must not be blank")
    return prompt


def check_images(images: int) -> int:
    """Return how many results are wanted, checked.

    Raises:
        InputError: none, or more than fit into one batch.
    """
    if not 1 <= images <= MAX_IMAGES:
        raise InputError(f"number of images = {images}: allowed is 1 to {MAX_IMAGES}")
    return images


def adjust_sampling(sampling: Sampling, **changes: float | None) -> Sampling:
    """Return ``sampling`` with the ``changes`` that are not None.

    Raises:
        InputError: one is out of range, or no step would be left to do.
    """
    values = sampling.model_dump() | {name: value for name, value in changes.items() if value is not None}
    try:
        return Sampling.model_validate(values)
    except ValidationError as error:
        raise InputError(describe_error(error.errors()[0], values)) from error


def read_sampling(folder: Path) -> Sampling:
    """Return how the edits of the model in ``folder`` are sampled.

    Raises:
        InputError: the folder has no settings, or they are not as they must be.
    """
    path = folder / SETTINGS_FILE
    if not path.is_file():
        raise InputError(f"{path}: no such file; the folder is not a model that the train stage wrote")
    try:
        known = read_json(path)["sampling"]
        values = {"solver": "ddim", "mask_margin": 0.0, "mask_draft": False} | known  # of models from before there were these
        return Sampling.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{path}: {describe_error(error.errors()[0], values)}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path}: damaged: has no sampling") from error


def _open(data: bytes, name: str) -> Image.Image:
    """Decode a picture; its size is checked first, and only formats of pictures are tried."""
    try:
        with decoded(data, FORMATS, MAX_PIXELS) as image:
            return ImageOps.exif_transpose(image)
    except Refused as reason:
        raise InputError(f"{name}: {reason}") from reason
