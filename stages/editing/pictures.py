"""Pictures in and out of the editor: files and base64, checked before they are decoded."""

import base64
import binascii
import io
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from stages.core.errors import InputError
from stages.corpus.images import FORMATS, Refused, as_rgb, decoded, on_white, upright
from stages.corpus.parts import MAX_BYTES, printable
from stages.corpus.profiles import srgb_profile, to_srgb
from stages.corpus.stripped import strip
from stages.editing.colours import PROFILE, own_profile

PNG_XMP = "XML:com.adobe.xmp"  # the keyword of the chunk that holds XMP
MAX_TEXT = MAX_BYTES * 4 // 3 + 4  # characters of base64
MAX_PIXELS = 50_000_000  # per picture, read from its header
OPTIONS: dict[str, dict[str, Any]] = {"png": {}, "jpeg": {"quality": 95}, "webp": {"lossless": True, "exact": True}}
"""Kind of file → how Pillow writes it; JPEG has no way without loss."""


def read_picture(path: Path) -> Image.Image:
    """Return the picture in a file: upright, RGB, or RGBA if parts of it are transparent.

    A picture with an ICC profile of RGB keeps its pixels, and the profile in ``info``; any other comes in sRGB.

    Raises:
        InputError: the file is missing, too large, or not a picture that can be read.
    """
    name = f"image {printable(path)}"
    return picture_of(_read(path, name), name)


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
    return picture_of(_from_base64(text, name), name)


def count_pixels(text: str) -> int:
    """Return the pixels of the picture in base64 text, by its header; 0 if it is none, which decoding will report."""
    if len(text) > MAX_TEXT:
        return 0
    with suppress(Exception), Image.open(io.BytesIO(strip(base64.b64decode(text))), formats=FORMATS) as image:
        return image.width * image.height
    return 0


def decode_mask(text: str, name: str = "mask") -> Image.Image:
    """Return the mask in base64 text, as :func:`read_mask` does.

    Args:
        text: base64 of an image file.
        name: what the mask is, for messages.

    Raises:
        InputError: the text is not base64, or not a picture that can be read.
    """
    return _mask(_from_base64(text, name), name)


def picture_of(data: bytes, name: str) -> Image.Image:
    """Return the picture in the bytes of a file, as :func:`read_picture` does.

    Args:
        data: the file.
        name: what the picture is, for messages.

    Raises:
        InputError: it is not a picture that can be read.
    """
    try:
        with decoded(data, FORMATS, MAX_PIXELS) as image:
            return _own_pixels(image)
    except Refused as reason:
        raise InputError(f"{name}: {reason}") from reason


def write_picture(image: Image.Image, to: Path | io.BytesIO, kind: str, xmp: bytes = b"") -> None:
    """Write a picture with its own ICC profile, or labelled as sRGB; a PNG or WebP has every pixel as it is.

    Args:
        image: RGB; or RGBA, which a format without transparency gets on white; or "L", a mask.
        to: where to.
        kind: "png", "jpeg" or "webp".
        xmp: what the picture says about itself; see :func:`stages.editing.metadata.describe`.
    """
    options: dict[str, Any] = dict(OPTIONS[kind])
    if image.mode != "L":
        options["icc_profile"] = own_profile(image) or srgb_profile()
    if kind == "jpeg" and image.mode == "RGBA":
        image = on_white(image)
    if xmp and kind == "png":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt(PNG_XMP, xmp.decode())
    elif xmp:
        options["xmp"] = xmp
    image.save(to, kind, **options)


def encode_picture(image: Image.Image, xmp: bytes = b"") -> str:
    """Return a picture as a PNG in base64, as :func:`write_picture` writes it."""
    buffer = io.BytesIO()
    write_picture(image, buffer, "png", xmp)
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
    if len(text) > MAX_TEXT:
        raise InputError(f"{name}: larger than {MAX_BYTES:,} bytes")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{name}: not base64: {error}") from error


def _own_pixels(image: Image.Image) -> Image.Image:
    """Return a decoded file as :func:`read_picture` does.

    Raises:
        Refused: see :func:`stages.corpus.images.load`.
    """
    opaque = as_rgb(image)
    profile, alpha = own_profile(image), _alpha(image)
    if profile is None and alpha is None:
        opaque.info.pop(PROFILE, None)
        return opaque
    pixels = image.convert("RGB")
    colours = to_srgb(pixels, image)
    keeps_profile = profile is not None and colours is not pixels  # that of sRGB is written anyway
    own = pixels if keeps_profile else colours
    own.info = {PROFILE: profile} if keeps_profile else {}
    if alpha is not None:
        own.putalpha(alpha)
    return upright(own, image)


def _alpha(image: Image.Image) -> Image.Image | None:
    """Return how opaque the pixels of a decoded file are, "L"; None if all of them are."""
    if not image.has_transparency_data or image.mode.startswith("I"):  # 16 bits: one level may be transparent
        return None
    alpha = image.convert("RGBA").getchannel("A")
    return None if alpha.getextrema() == (255, 255) else alpha


def _mask(data: bytes, name: str) -> Image.Image:
    try:
        with decoded(data, FORMATS, MAX_PIXELS) as image:
            return upright(image.copy(), image)
    except Refused as reason:
        raise InputError(f"{name}: {reason}") from reason
