"""Bytes from anywhere, made into checked RGB squares.

The bytes are hostile: only a fixed list of formats is opened, and the number of pixels is known from the header before
anything is decoded. Colour profiles are not applied; CMYK is converted by the plain formula.
"""

import hashlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
TILE_SIDES = (322, 323)  # tags of TIFF
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → what turns the picture upright."""


class Refused(Exception):  # noqa: N818 - it tells of a sample, not of a defect
    """A sample that is not let in; the message is the reason, the same words for the same cause, to be counted."""


def load(data: bytes, *, max_pixels: int) -> Image.Image:
    """Decode an image file: RGB, upright by its EXIF orientation, transparent parts on white.

    Of an animation or a file of many pages the first is taken: it is a picture like any other, and much of the web's
    WEBP and GIF is an animation only by name.

    Raises:
        Refused: as :func:`decoded` does, or of 32-bit pixels.
    """
    with decoded(data, FORMATS, max_pixels) as image:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        picture = _rgb(image)
        return picture.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else picture


@contextmanager
def decoded(data: bytes, formats: tuple[str, ...], max_pixels: int) -> Iterator[Image.Image]:
    """Give the first picture of an image file as it is in there, whatever its mode.

    Raises:
        Refused: empty, of none of the ``formats``, of more than ``max_pixels`` pixels, or damaged, as far as the block
            looks into it.
    """
    if not data:
        raise Refused("empty file")
    try:
        with _pixel_limit(max_pixels), Image.open(io.BytesIO(data), formats=formats) as image:
            _check_pixels(image, max_pixels)
            image.load()
            yield image
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise Refused(f"more than {max_pixels:,} pixels") from error
    except UnidentifiedImageError as error:
        raise Refused(f"not an image ({', '.join(formats)})") from error
    except (Refused, MemoryError):
        raise  # a machine without memory says nothing about the image
    except Exception as error:  # on damaged bytes Pillow's decoders raise errors of a dozen kinds
        raise Refused("truncated or damaged image") from error


def fit(image: Image.Image, *, size: int, min_side: int) -> Image.Image:
    """Return the central square of ``image``, (size, size), antialiased; one that fits already keeps its pixels.

    Raises:
        Refused: the shorter side has fewer than ``min_side`` pixels.
    """
    side = min(image.size)
    if side < min_side:
        raise Refused("shorter side below ingest.min_side")
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))  # resize(box=...) would look over the edge of the box
    return square.resize((size, size), Image.Resampling.LANCZOS)


def pixel_digest(image: Image.Image) -> str:
    """Return the SHA-256 of the pixels: equal for two files that show exactly the same."""
    return hashlib.sha256(image.tobytes()).hexdigest()


@contextmanager
def _pixel_limit(max_pixels: int) -> Iterator[None]:
    """Let Pillow refuse a larger image when it has read the header, whatever its own limit was, and warn of nothing else."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _check_pixels(image: Image.Image, max_pixels: int) -> None:
    """Look at what the header says once more: Pillow's limit is shared by all threads, and blind to the tiles of TIFF.

    A tile may be larger than the image that is cut from it, and is decoded as a whole.
    """
    size = image.size
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        size = (max(size[0], image.tag_v2.get(TILE_SIDES[0], 0)), max(size[1], image.tag_v2.get(TILE_SIDES[1], 0)))
    if size[0] * size[1] > max_pixels:
        raise Image.DecompressionBombError


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # Pillow's own conversion to RGB would clip at 255
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise Refused("pixels of 32 bits: their range is unknown")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        return white.convert("RGB")
    return image.convert("RGB")
