"""Uploads, each of which may be hostile: sizes are checked before anything is decoded, and nothing is ever opened by a name."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from PIL import Image

from stages.core.errors import InputError
from stages.corpus.images import FORMATS, Refused, decoded, upright
from stages.editing.pictures import MAX_PIXELS, picture_of
from stages.serving.calls import DeadlineExceededError, Picture
from stages.serving.turns import Turns

MAX_BYTES = 50 * 2**20  # of a picture's file, as OpenAI's API allows
PATIENCE = 30  # seconds until a picture must be decoded, the wait for those before it included
OPAQUE = 128  # of an alpha channel: below it a pixel counts as transparent
Result = TypeVar("Result")

_decoder = Turns("uploads")
"""No more than one hostile picture is unpacked at a time."""


async def decode(client: str, how: Callable[..., Result], *arguments: Any) -> Result:
    """Return ``how(*arguments)``, which decodes what a client sent, when its turn has come.

    Raises:
        DeadlineExceededError: the decoder does not get to it in time.
    """
    try:
        async with asyncio.timeout(PATIENCE):
            return await _decoder.run(client, how, *arguments)
    except TimeoutError as error:
        raise DeadlineExceededError(f"the picture was not decoded within {PATIENCE} seconds") from error


def decode_picture(data: bytes, name: str) -> Image.Image:
    """Return the picture in a file, as :func:`stages.editing.pictures.read_picture` does.

    Args:
        data: the file.
        name: what the picture is, for messages.

    Raises:
        InputError: the file is too large, or not a picture that can be read.
    """
    _check_size(data, name)
    return picture_of(data, name)


def check_picture(data: bytes, name: str) -> Picture:
    """Return a file as the picture that it is, as :func:`decode_picture` says; its pixels are not kept."""
    return Picture(data, decode_picture(data, name).size)


def decode_alpha_mask(data: bytes, name: str) -> Image.Image:
    """Return the mask in a file whose transparent pixels may change, as OpenAI defines it: "L", white where they are.

    Args:
        data: the file.
        name: what the mask is, for messages.

    Raises:
        InputError: the file is too large, not a picture that can be read, or has no transparent pixel.
    """
    _check_size(data, name)
    try:
        with decoded(data, FORMATS, MAX_PIXELS) as original:
            mask = upright(original.copy(), original)
    except Refused as reason:
        raise InputError(f"{name}: {reason}") from reason
    if mask.has_transparency_data:
        white = mask.convert("RGBA").getchannel("A").point(lambda level: 255 * (level < OPAQUE))
        if white.getbbox() is not None:
            return white
    raise InputError(f"{name}: no pixel is transparent; transparent pixels are those that may change")


def _check_size(data: bytes, name: str) -> None:
    if not data:
        raise InputError(f"{name}: is empty")
    if len(data) > MAX_BYTES:
        raise InputError(f"{name}: has {len(data):,} bytes, allowed are {MAX_BYTES:,}")
