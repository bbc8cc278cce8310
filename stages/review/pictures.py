"""Pictures and masks as parts of a page's HTML."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

TINT = (255, 0, 96)


def picture_html(picture: Image.Image, alt: str, mask: NDArray[np.bool_] | None = None) -> str:
    """Return a picture that fills its place, with a mask over it that the key m hides.

    Args:
        picture: RGB, (w, h).
        alt: says what it is; escaped already.
        mask: (h, w).
    """
    pixelated = " small" if max(picture.size) <= 128 else ""
    layers = f'<img class="shown{pixelated}" src="{data_uri(picture)}" alt="{alt}">'
    if mask is not None:
        layers += f'<img class="mask{pixelated}" src="{data_uri(mask_layer(mask))}" alt="">'
    return f'<span class="layers">{layers}</span>'


def mask_layer(mask: NDArray[np.bool_]) -> Image.Image:
    """Return a mask (h, w) as a picture to lay over its own: tinted inside, with an outline, clear outside."""
    padded = np.pad(mask, 1, mode="edge")
    surrounded = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    opacity = np.where(mask, np.where(surrounded, 96, 255), 0).astype(np.uint8)
    layer = Image.new("RGB", mask.shape[::-1], TINT)
    layer.putalpha(Image.fromarray(opacity))
    return layer


def data_uri(picture: Image.Image) -> str:
    """Return a picture as a PNG in a data URI."""
    buffer = io.BytesIO()
    picture.save(buffer, "png", compress_level=3)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
