"""Decoding of untrusted image files into RGB: one decoder for every way in.

Only a fixed list of formats is opened, and the number of pixels is checked in the header before anything is decoded.
Whatever the file, the picture comes out upright, in sRGB as its own profile says, with transparent parts on white. Without
a profile colours are taken for sRGB, also where only EXIF names Adobe RGB (InteropIndex R03, ColorSpace 2), and CMYK is
converted by the plain formula. Metadata that Pillow cannot read never costs a sound picture.
"""

import importlib
import importlib.util
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

import numpy as np
from PIL import ExifTags, Image, ImageCms, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from stages.corpus.profiles import to_srgb
from stages.corpus.stripped import MAX_PROFILE, strip

HAS_HEIF = importlib.util.find_spec("pillow_heif") is not None  # an optional library
if HAS_HEIF:
    importlib.import_module("pillow_heif").register_heif_opener()

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "GIF", "TIFF", *(("HEIF",) if HAS_HEIF else ()))
HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx")  # one stands in the first box of such a file
STORED_FORMATS = ("PNG", "WEBP", "JPEG")  # what the corpus is written in
GAP = 3.0  # a far larger picture is averaged to so many times the wanted side first, which costs no quality that is seen
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

warnings.filterwarnings("ignore", module=r"PIL\.")  # about sizes and metadata, which are judged here
PngImagePlugin.MAX_TEXT_CHUNK = MAX_PROFILE  # of the compressed chunks :func:`strip` leaves only profiles to Pillow


class Refused(Exception):  # noqa: N818 - a verdict on a sample, not an error of the program
    """A sample is rejected.

    Args:
        reason: why; the same cause has the same words, so that reasons can be counted.
        detail: what is particular to this sample, such as its size.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail

    def __reduce__(self) -> tuple[type["Refused"], tuple[str, str]]:
        return Refused, (self.reason, self.detail)


def load(data: bytes, *, max_pixels: int) -> Image.Image:
    """Decode an image file to RGB: upright by its EXIF orientation, colours in sRGB, transparent parts on white.

    An animation or multi-page file yields its first frame, which is a picture like any other; many of the web's WEBP
    and GIF files are animations in name only.

    Raises:
        Refused: see :func:`decoded`; or the pixels have 32 bits, or all of them are transparent.
    """
    with decoded(data, FORMATS, max_pixels) as image:
        return as_rgb(image)


def as_rgb(image: Image.Image) -> Image.Image:
    """Return a decoded file as :func:`load` does."""
    return upright(to_srgb(_rgb(image), image), image)


def on_white(image: Image.Image) -> Image.Image:
    """Return a picture as RGB; with RGBA, transparent parts become white."""
    if image.mode != "RGBA":
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    return white.convert("RGB")


def upright(picture: Image.Image, original: Image.Image) -> Image.Image:
    """Return ``picture`` turned as the EXIF orientation of the file ``original`` says; odd EXIF turns nothing."""
    orientation = _orientation(original)
    return picture.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else picture


@contextmanager
def decoded(data: bytes, formats: tuple[str, ...], max_pixels: int) -> Iterator[Image.Image]:
    """Open an image file and yield its first picture, decoded, in its own mode.

    Raises:
        Refused: the file is empty, in none of ``formats``, larger than ``max_pixels`` pixels, or damaged. Damage that
            only shows while the block uses the picture counts too. Or it is HEIC, and what reads it is not installed.
    """
    if not data:
        raise Refused("empty file")
    if formats == FORMATS and not HAS_HEIF and data[4:8] == b"ftyp" and any(brand in data[8:40] for brand in HEIC_BRANDS):
        raise Refused("HEIC is read where the package pillow-heif is installed")
    try:
        with Image.open(io.BytesIO(strip(data)), formats=formats) as image:
            _check_pixels(image, max_pixels)
            image.load()
            yield image
    except Image.DecompressionBombError as error:
        raise Refused(f"more than {max_pixels:,} pixels") from error
    except UnidentifiedImageError as error:
        raise Refused(f"not an image ({', '.join(formats)})") from error
    except (Refused, MemoryError):
        raise  # running out of memory is not the image's fault
    except Exception as error:  # Pillow's decoders raise a dozen kinds of errors on damaged bytes
        raise Refused("truncated or damaged image") from error


def decode_stored(data: bytes, size: tuple[int, int]) -> Image.Image:
    """Decode a picture that the corpus holds, in any thread; ``size`` is what its index says.

    Raises:
        Refused: the bytes are not an RGB picture of that size in one of STORED_FORMATS.
    """
    try:
        with Image.open(io.BytesIO(data), formats=STORED_FORMATS) as image:
            found = (image.mode, image.size)
            if found == ("RGB", size):  # by the header, before anything is decoded
                return image.copy()
    except MemoryError:
        raise
    except Exception as error:  # as in :func:`decoded`
        raise Refused("truncated or damaged image") from error
    raise Refused(f"a picture is {found[0]} of {found[1]} pixels, must be RGB of {size}")


def fit(image: Image.Image, *, size: int, min_side: int) -> Image.Image:
    """Return the central square of an RGB image, antialiased to (size, size); an image of that size keeps its pixels.

    Raises:
        Refused: the shorter side has fewer than ``min_side`` pixels.
    """
    side = min(image.size)
    if side < min_side:
        raise Refused(f"shorter side below ingest.min_side = {min_side}", f"{image.width} x {image.height} pixels")
    if image.width != image.height:
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    return image if side == size else _scale(image, size)


def _scale(image: Image.Image, size: int) -> Image.Image:
    """Return a square RGB image as (size, size) by the antialiased bicubic filter.

    Pillow averages far larger ones first. The others take torch a quarter of Pillow's time, with its result up to rounding.
    """
    if image.width >= 2 * GAP * size:
        return image.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=GAP)
    import torch  # readers, and runs with nothing to do, start without it

    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(1, image.height, image.width, 3)
    scaled = torch.nn.functional.interpolate(pixels.permute(0, 3, 1, 2), (size, size), mode="bicubic", antialias=True)
    return Image.fromarray(scaled[0].permute(1, 2, 0).contiguous().numpy())


def _orientation(image: Image.Image) -> object:
    """Return the EXIF orientation, or None; EXIF that cannot be read says nothing, and Pillow fails on it in many ways."""
    with suppress(Exception):
        value = image.getexif().get(ExifTags.Base.Orientation)
        return value if isinstance(value, int) else None
    return None


def _check_pixels(image: Image.Image, max_pixels: int) -> None:
    """Raise DecompressionBombError if an image whose header was read is too large to be decoded.

    Pillow's own limit is one for all threads, and stays as it is. A TIFF tile is decoded as a whole, and may be larger than
    the image that is cut from it.
    """
    size = image.size
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        size = (max(size[0], image.tag_v2.get(TILE_SIDES[0], 0)), max(size[1], image.tag_v2.get(TILE_SIDES[1], 0)))
    if size[0] * size[1] > max_pixels:
        raise Image.DecompressionBombError


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _rgb_of_16_bits(image)
    if image.mode in ("I", "F"):
        raise Refused("pixels of 32 bits: their range is unknown")
    if image.mode == "LAB":
        return _lab_to_srgb().apply(image)
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        if layers.getchannel("A").getextrema() == (0, 0):
            raise Refused("fully transparent")
        return on_white(layers)
    return image if image.mode == "RGB" else image.convert("RGB")


def _rgb_of_16_bits(image: Image.Image) -> Image.Image:
    """Return grey of 16 bits as RGB; Pillow's own conversion clips at 255, and forgets the level that is transparent."""
    levels = np.asarray(image)
    is_clear = levels == image.info.get("transparency", -1)
    if is_clear.all():
        raise Refused("fully transparent")
    return Image.fromarray(np.where(is_clear, 255, levels >> 8).astype(np.uint8)).convert("RGB")


@cache
def _lab_to_srgb() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
