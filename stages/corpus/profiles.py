"""Colour profiles: what a picture's own ICC profile says, put into sRGB, which all models were trained on."""

import io

import numpy as np
from PIL import Image, ImageCms

INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
CREATED = slice(24, 36)  # the bytes of a profile that hold when it was made
GREY_MODES = ("1", "L", "LA", "I;16", "I;16B", "I;16L")
SAME = 2  # levels of 255: sRGB profiles of different makers differ by rounding only


def srgb_profile() -> bytes:
    """Return an ICC profile of sRGB to label pictures with; always the same bytes."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[CREATED] = bytes.fromhex("07d0 0001 0001 0000 0000 0000")  # 1 January 2000
    return bytes(profile)


def to_srgb(picture: Image.Image, original: Image.Image) -> Image.Image:
    """Return ``picture`` with the colours that the profile of ``original`` gives it; the same pixels if that is sRGB.

    A profile that is damaged, or made for another kind of pixels than the file has, is ignored, as browsers do.

    Args:
        picture: ``original`` as RGB, of its size, converted without its profile.
        original: the picture as it was decoded.
    """
    data = original.info.get("icc_profile")
    if not data:
        return picture
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        source = _in_space(picture, original, profile.profile.xcolor_space.strip())
        if source is None:
            return picture
        transform = ImageCms.buildTransform(
            profile, ImageCms.createProfile("sRGB"), source.mode, "RGB", renderingIntent=INTENT, flags=FLAGS
        )
        if source.mode == "RGB" and _changes_nothing(transform):
            return picture
        converted = ImageCms.applyTransform(source, transform)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return picture
    assert converted is not None  # it is None for changes in place only
    return converted


def _in_space(picture: Image.Image, original: Image.Image, space: str) -> Image.Image | None:
    """Return the picture with the pixels that a profile of a colour space describes; None if the file has others."""
    match space:
        case "RGB" if original.mode != "CMYK" and original.mode not in GREY_MODES:
            return picture
        case "GRAY" if original.mode in GREY_MODES:
            return picture.convert("L")
        case "CMYK" if original.mode == "CMYK":
            return original
    return None


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Return whether a transform from RGB to sRGB leaves all colours as they are, up to rounding."""
    levels = np.arange(0, 256, 17, dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    found = ImageCms.applyTransform(Image.fromarray(colours), transform)
    return int(np.abs(np.asarray(found, np.int16) - colours).max()) <= SAME
