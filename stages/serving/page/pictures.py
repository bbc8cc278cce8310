"""Pictures for the browser: small renditions in data URIs, and the mask as a layer that can be painted on."""

import base64
import io

from PIL import Image

from stages.core.errors import InputError
from stages.corpus.images import Refused, decoded
from stages.editing.colours import in_srgb

DISPLAY_SIDE = 1024  # pixels of the longer side of a rendition, at most
LAYER_SIDE = 768  # pixels of the longer side of the layer, whatever the picture's size
FOUND, DRAFT = (124, 92, 255), (255, 149, 0)  # tints: where the words were found or the brush was, and what a draft adds
QUALITY = 90  # of WebP
MAX_LAYER_TEXT = 4_000_000  # characters of a layer in base64; an honest one has far fewer
PNG_PREFIX = "data:image/png;base64,"


def rendition(image: Image.Image, side: int = DISPLAY_SIDE) -> str:
    """Return an RGB or RGBA picture, in sRGB, as the data URI of a WebP whose longer side has at most ``side`` pixels."""
    scale = min(1, side / max(image.size))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    small = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)  # far larger ones are averaged first
    return _data_uri(in_srgb(small), "webp", quality=QUALITY, method=2)


def layer_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the width and height of the layer over a picture of ``size``."""
    scale = LAYER_SIDE / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def draw_layer(mask: Image.Image, draft: Image.Image | None = None) -> str:
    """Return the layer that shows a mask, as the data URI of a PNG: tinted where the mask is, transparent elsewhere.

    Args:
        mask: "L", white where the picture may change.
        draft: "L", of the mask's size, white where a draft of the edit adds to it; shown in another tint.
    """
    size = layer_size(mask.size)
    layer = Image.new("RGBA", size)
    for part, tint in ((draft, DRAFT), (mask, FOUND)):
        if part is not None:
            layer.paste((*tint, 255), mask=_two_levels(part.resize(size, Image.Resampling.BILINEAR)))
    return _data_uri(layer, "png")


def read_layer(layer: object, size: tuple[int, int]) -> Image.Image:
    """Return the mask that a painted layer shows: "L" of ``size``, white where the layer is tinted.

    Args:
        layer: what the browser sent, the data URI of a PNG.
        size: the picture's.

    Raises:
        InputError: it is not such a layer.
    """
    if not isinstance(layer, str) or not layer.startswith(PNG_PREFIX) or len(layer) > MAX_LAYER_TEXT:
        raise InputError("the painted mask is not a picture in PNG")
    width, height = layer_size(size)
    try:
        with decoded(base64.b64decode(layer.removeprefix(PNG_PREFIX)), ("PNG",), width * height) as image:
            if image.mode != "RGBA" or image.size != (width, height):
                raise InputError("the painted mask does not fit the picture")
            alpha = image.getchannel("A")
    except (Refused, ValueError) as error:
        raise InputError(f"the painted mask cannot be read: {error}") from error
    return _two_levels(alpha.resize(size, Image.Resampling.BILINEAR))


def _two_levels(mask: Image.Image) -> Image.Image:
    return mask.point([0] * 128 + [255] * 128)


def _data_uri(image: Image.Image, kind: str, **options: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
