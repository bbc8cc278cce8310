"""Decoding of untrusted image files into RGB squares.

Only a fixed list of formats is opened, and the number of pixels is checked in the header before anything is decoded.
Colours are put into sRGB as the picture's own profile says; without a profile they are taken for sRGB, and CMYK is converted
by the plain formula.
"""

import hashlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from stages.corpus.profiles import to_srgb

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
TILE_SIDES = (322, 323)  # TIFF tags TileWidth and TileLength
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → the transposition that makes the picture upright."""


class Refused(Exception):  # noqa: N818 - a verdict on a sample, not an error of the program
    """A sample is rejected. The message is the reason; the same cause has the same words, so that reasons can be counted."""


def load(data: bytes, *, max_pixels: int) -> Image.Image:
    """Decode an image file to RGB in sRGB, upright by its EXIF orientation, transparent parts on white.

    An animation or multi-page file yields its first frame, which is a picture like any other; many of the web's WEBP
    and GIF files are animations in name only.

    Raises:
        Refused: see :func:`decoded`; or the pixels have 32 bits.
    """
    with decoded(data, FORMATS, max_pixels) as image:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        picture = to_srgb(_rgb(image), image)
        return picture.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else picture


@contextmanager
def decoded(data: bytes, formats: tuple[str, ...], max_pixels: int) -> Iterator[Image.Image]:
    """Open an image file and yield its first picture, decoded, in its own mode.

    Raises:
        Refused: the file is empty, in none of ``formats``, larger than ``max_pixels`` pixels, or damaged. Damage that
            only shows while the block uses the picture counts too.
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
        raise  # running out of memory is not the image's fault
    except Exception as error:  # Pillow's decoders raise a dozen kinds of errors on damaged bytes
        raise Refused("truncated or damaged image") from error


def fit(image: Image.Image, *, size: int, min_side: int) -> Image.Image:
    """Return the central square of ``image``, antialiased to (size, size); an image of that size keeps its pixels.

    Raises:
        Refused: the shorter side has fewer than ``min_side`` pixels.
    """
    side = min(image.size)
    if side < min_side:
        raise Refused("shorter side below ingest.min_side")
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))  # resize(box=...) would sample beyond the box
    return square.resize((size, size), Image.Resampling.LANCZOS)


def pixel_digest(image: Image.Image) -> str:
    """Return the SHA-256 of the pixels in hex: equal for files that decode to the same picture."""
    return hashlib.sha256(image.tobytes()).hexdigest()


@contextmanager
def _pixel_limit(max_pixels: int) -> Iterator[None]:
    """Make Pillow reject larger images by their header, regardless of its own limit, and silence its other warnings."""
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
    """Check the header once more, because Pillow's limit is shared by all threads and ignores TIFF tiles.

    A TIFF tile is decoded as a whole, and may be larger than the image that is cut from it.
    """
    size = image.size
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        size = (max(size[0], image.tag_v2.get(TILE_SIDES[0], 0)), max(size[1], image.tag_v2.get(TILE_SIDES[1], 0)))
    if size[0] * size[1] > max_pixels:
        raise Image.DecompressionBombError


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # Pillow's own conversion to RGB clips at 255
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise Refused("pixels of 32 bits: their range is unknown")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        return white.convert("RGB")
    return image.convert("RGB")
