"""Pictures in and out of the editor: files and base64, checked before they are decoded."""

import base64
import binascii
import io
from pathlib import Path

from PIL import Image

from stages.core.errors import InputError
from stages.corpus.images import FORMATS, Refused, decoded, load, upright
from stages.corpus.parts import MAX_BYTES, printable
from stages.corpus.profiles import srgb_profile

MAX_PIXELS = 50_000_000  # per picture, read from its header


def read_picture(path: Path) -> Image.Image:
    """Return the picture in a file as the corpus would have it: RGB in sRGB, upright, transparent parts on white.

    Raises:
        InputError: the file is missing, too large, or not a picture that can be read.
    """
    name = f"image {printable(path)}"
    return _picture(_read(path, name), name)


def read_mask(path: Path) -> Image.Image:
    """Return the mask in a file, upright and with its own values: 0 and 1 of 16 bits must not become black.

    Raises:
        InputError: the file is missing, too large, or not a picture that can be read.
    """
    name = f"mask {printable(path)}"
    return _mask(_read(path, name), name)


def decode_picture(text: str, name: str = "image") -> Image.Image:
    """Return the picture in base64 text, as :func:`read_picture` does.

    Args:
        text: base64 of an image file.
        name: what the picture is, for messages.

    Raises:
        InputError: the text is not base64, or not a picture that can be read.
    """
    return _picture(_from_base64(text, name), name)


def decode_mask(text: str, name: str = "mask") -> Image.Image:
    """Return the mask in base64 text, as :func:`read_mask` does.

    Args:
        text: base64 of an image file.
        name: what the mask is, for messages.

    Raises:
        InputError: the text is not base64, or not a picture that can be read.
    """
    return _mask(_from_base64(text, name), name)


def write_picture(image: Image.Image, to: Path | io.BytesIO, kind: str) -> None:
    """Write an RGB picture, labelled as sRGB.

    Args:
        image: the picture.
        to: where to.
        kind: a format of Pillow, such as "png".
    """
    image.save(to, kind, icc_profile=srgb_profile())


def encode_picture(image: Image.Image) -> str:
    """Return a picture as a PNG in base64."""
    buffer = io.BytesIO()
    write_picture(image, buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _read(path: Path, name: str) -> bytes:
    if not path.is_file():
        raise InputError(f"{name}: {'not a file' if path.exists() else 'no such file'}")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{name}: larger than {MAX_BYTES:,} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}") from error
    return data


def _from_base64(text: str, name: str) -> bytes:
    if len(text) > MAX_BYTES * 4 / 3 + 4:
        raise InputError(f"{name}: larger than {MAX_BYTES:,} bytes")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{name}: not base64: {error}") from error


def _picture(data: bytes, name: str) -> Image.Image:
    try:
        return load(data, max_pixels=MAX_PIXELS)
    except Refused as reason:
        raise InputError(f"{name}: {reason}") from reason


def _mask(data: bytes, name: str) -> Image.Image:
    try:
        with decoded(data, FORMATS, MAX_PIXELS) as image:
            return upright(image.copy(), image)
    except Refused as reason:
        raise InputError(f"{name}: {reason}") from reason
