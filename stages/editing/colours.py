"""The colours of a photograph: the model sees them in sRGB, and a result keeps the photograph's own ICC profile."""

import io

from PIL import Image, ImageCms

from stages.corpus.images import on_white
from stages.corpus.profiles import FLAGS, INTENT, to_srgb

PROFILE = "icc_profile"  # under this name Pillow keeps it in ``info``, also of copies, crops and smaller ones
DESCRIBED = ("RGB", "RGBA", "P")  # modes whose pixels a profile of RGB describes


def own_profile(image: Image.Image) -> bytes | None:
    """Return the ICC profile of an image's RGB pixels; None if there is none, or edits cannot be put into its colours."""
    found = _own(image)
    return None if found is None else found[0]


def in_srgb(image: Image.Image) -> Image.Image:
    """Return an image in sRGB: RGB, or RGBA if it is."""
    colours = to_srgb(image.convert("RGB"), image)
    colours.info.pop(PROFILE, None)  # sRGB needs no label here
    if image.mode == "RGBA":
        colours.putalpha(image.getchannel("A"))
    return colours


def as_seen(image: Image.Image) -> Image.Image:
    """Return an image as a model sees it: RGB, in sRGB, transparent parts on white."""
    return on_white(in_srgb(image))


def in_colours_of(image: Image.Image, picture: Image.Image) -> Image.Image:
    """Return a picture, RGB in sRGB, with the pixels that show its colours under the profile of ``image``, if it has one."""
    found = _own(image)
    if found is None:
        return picture
    data, transform = found
    converted = ImageCms.applyTransform(picture, transform)
    assert converted is not None  # it is None for changes in place only
    converted.info = {PROFILE: data}
    return converted


def _own(image: Image.Image) -> tuple[bytes, ImageCms.ImageCmsTransform] | None:
    """Return what :func:`own_profile` does, and the transform into its colours."""
    data: bytes | None = image.info.get(PROFILE)
    transform = _from_srgb(data) if data and image.mode in DESCRIBED else None
    return None if data is None or transform is None else (data, transform)


def _from_srgb(data: bytes) -> ImageCms.ImageCmsTransform | None:
    """Return the transform into the colours of a profile; None if it is no profile of RGB that colours can be put into."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        srgb = ImageCms.createProfile("sRGB")
        ImageCms.buildTransform(profile, srgb, "RGB", "RGB")  # the model has to see them too
        return ImageCms.buildTransform(srgb, profile, "RGB", "RGB", renderingIntent=INTENT, flags=FLAGS)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
