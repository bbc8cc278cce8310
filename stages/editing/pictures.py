"""Pictures in and out of the editor: files and base64, checked before they are decoded."""

import base64
import binascii
import io
from pathlib import Path

from PIL import Image, ImageOps

from stages.core.errors import InputError
from stages.corpus.images import Refused, decoded
from stages.corpus.parts import MAX_BYTES, printable

MAX_PIXELS = 50_000_000  # per picture, read from its header
FORMATS = ("PNG", "JPEG", "WEBP")


def read_picture(path: Path, name: str = "image") -> Image.Image:
    """Return the picture in a file, turned upright.

    Args:
        path: the file.
        name: what the picture is, for messages.

    Raises:
        InputError: the file is missing, too large, or not a picture that can be read.
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
    """Return the picture in base64 text, turned upright.

    Args:
        text: base64 of an image file.
        name: what the picture is, for messages.

    Raises:
        InputError: the text is not base64, or not a picture that can be read.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{name}: not base64: {error}") from error
    return _open(data, name)


def encode_picture(image: Image.Image) -> str:
    """Return a picture as a PNG in base64."""
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _open(data: bytes, name: str) -> Image.Image:
    """Decode one of FORMATS after checking its size."""
    try:
        with decoded(data, FORMATS, MAX_PIXELS) as image:
            return ImageOps.exif_transpose(image)
    except Refused as reason:
        raise InputError(f"{name}: {reason}") from reason
