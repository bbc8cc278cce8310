"""Pictures as a report shows them: masks tinted on them, thumbnails, data URIs."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from stages.core.files import written_aside

THUMBNAIL = 192  # pixels on a side, on the page and on the contact sheet
TINT = (255, 0, 96)  # colour of a mask


def overlay(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """Show where a mask lies: tint the picture inside it and draw its outline.

    Args:
        picture: any mode, (w, h).
        mask: mode "L", (w, h); inside from 128.

    Returns:
        The tinted picture, mode "RGB".
    """
    inside = np.asarray(mask) >= 128
    padded = np.pad(inside, 1, mode="edge")
    surrounded = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    opacity = np.where(inside, np.where(surrounded, 0.4, 1.0), 0.0)[..., None]
    pixels = np.asarray(picture.convert("RGB")) * (1 - opacity) + np.array(TINT) * opacity
    return Image.fromarray(pixels.round().astype(np.uint8))


def thumbnail(picture: Image.Image) -> Image.Image:
    """Return the picture as a square of THUMBNAIL pixels; pixels stay sharp where the enlargement is a whole number."""
    whole = all(THUMBNAIL % side == 0 for side in picture.size)
    filtered = Image.Resampling.NEAREST if whole else Image.Resampling.LANCZOS
    return picture.convert("RGB").resize((THUMBNAIL, THUMBNAIL), filtered)


def data_uri(picture: Image.Image) -> str:
    """Return the picture as a PNG data URI, reduced to THUMBNAIL pixels if larger; the browser enlarges small ones."""
    picture = picture.convert("RGB")
    if max(picture.size) > THUMBNAIL:
        picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "png", compress_level=9)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def save_picture(path: Path, picture: Image.Image) -> None:
    """Write the picture as PNG, whole or not at all."""
    with written_aside(path) as temporary:
        picture.save(temporary, "png")
