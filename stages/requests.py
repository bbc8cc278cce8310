"""What callers ask of an editor, checked: pictures from files or base64, and the numbers of the sampling."""

import base64
import binascii
import io
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import ValidationError

from stages.files import read_json
from stages.params import Sampling
from stages.run import InputError

SETTINGS_FILE = "iedit.json"  # in a model's folder: how its edits are sampled unless the caller says otherwise
MAX_PIXELS = 50_000_000  # of a picture, known before it is decoded
MAX_IMAGES = 16  # of one request: they are made in one batch
FORMATS = ("PNG", "JPEG", "WEBP")


def read_picture(path: Path, name: str = "image") -> Image.Image:
    """Return the picture in a file, upright.

    Raises:
        InputError: it is not a picture that can be read.
    """
    if not path.is_file():
        raise InputError(f"{name} {path}: no such file")
    return _open(path.read_bytes(), f"{name} {path}")


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
    asked = {name: value for name, value in changes.items() if value is not None}
    try:
        adjusted = Sampling.model_validate(sampling.model_dump() | asked)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{'.'.join(map(str, first['loc']))} = {first['input']!r}: {first['msg']}") from error
    if int(adjusted.steps * adjusted.strength) == 0:
        raise InputError(
            f"strength = {adjusted.strength} with {adjusted.steps} steps: no step is left, the result would be the source"
        )
    return adjusted


def read_sampling(folder: Path) -> Sampling:
    """Return how the edits of the model in ``folder`` are sampled.

    Raises:
        InputError: the folder has no settings, or they are not as they must be.
    """
    path = folder / SETTINGS_FILE
    if not path.is_file():
        raise InputError(f"{path}: no such file; the folder is not a model that the train stage wrote")
    settings: dict[str, Any] = read_json(path)
    try:
        return Sampling.model_validate(settings.get("sampling"))
    except ValidationError as error:
        raise InputError(f"{path}: {error.errors()[0]['msg']}") from error


def _open(data: bytes, name: str) -> Image.Image:
    """Decode a picture; its size is checked first, and only formats of pictures are tried."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise InputError(f"{name}: {image.width} x {image.height} pixels, more than {MAX_PIXELS:,}")
        image.load()
    except UnidentifiedImageError as error:
        raise InputError(f"{name}: not a picture ({', '.join(FORMATS)})") from error
    except (OSError, Image.DecompressionBombError) as error:
        raise InputError(f"{name}: cannot be read: {error}") from error
    return ImageOps.exif_transpose(image)
