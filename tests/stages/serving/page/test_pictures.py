"""The mask as a layer that a visitor paints on, and what is refused as one."""

import base64
import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from stages.core.errors import InputError
from stages.serving.page import pictures
from tests.support.icc import ADOBE_RGB


def ellipse(size: tuple[int, int], place: tuple[float, float, float, float]) -> Image.Image:
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).ellipse([share * side for share, side in zip(place, size * 2, strict=True)], fill=255)
    return mask


def layer(image: Image.Image, kind: str = "png") -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


@pytest.mark.parametrize("size", [(64, 64), (1000, 700), (300, 2000), (768, 768)])
def test_a_mask_comes_back_as_it_was_shown(size):
    mask = ellipse(size, (0.2, 0.3, 0.7, 0.9))
    back = pictures.read_layer(pictures.draw_layer(mask), size)
    assert back.size == size
    assert set(np.unique(np.asarray(back))) == {0, 255}
    assert (np.asarray(back) == np.asarray(mask)).mean() > 0.99  # the layer is smaller or larger than the picture


def test_the_parts_of_a_draft_have_their_own_tint():
    found, draft = ellipse((768, 768), (0, 0, 0.6, 0.6)), ellipse((768, 768), (0.3, 0.3, 1, 1))
    pixels = np.asarray(decoded(pictures.draw_layer(found, draft)))
    assert tuple(pixels[190, 190]) == (*pictures.FOUND, 255)
    assert tuple(pixels[600, 600]) == (*pictures.DRAFT, 255)
    assert tuple(pixels[345, 345]) == (*pictures.FOUND, 255)  # both
    assert pixels[10, 700, 3] == 0
    union = np.maximum(np.asarray(found), np.asarray(draft))
    assert (np.asarray(pictures.read_layer(pictures.draw_layer(found, draft), (768, 768))) == union).all()


@pytest.mark.parametrize(
    "hostile",
    [
        None,
        7,
        {"path": "/etc/passwd"},
        "/etc/passwd",
        "data:image/png;base64,AAAA",
        "data:image/png;base64,é",
        layer(Image.new("RGBA", (767, 512))),
        layer(Image.new("RGB", (768, 512))),
        layer(Image.new("RGBA", (20_000, 20_000))),
        layer(Image.new("RGBA", (768, 512)), "webp"),
        pictures.PNG_PREFIX + "A" * pictures.MAX_LAYER_TEXT,
    ],
    ids=["nothing", "number", "mapping", "path", "no png", "no base64", "other size", "opaque", "bomb", "webp", "long"],
)
def test_anything_else_is_refused_in_one_line(hostile):
    with pytest.raises(InputError, match=r"^the painted mask [^\n]*$"):
        pictures.read_layer(hostile, (750, 500))


def test_renditions_are_bounded():
    large = decoded(pictures.rendition(Image.new("RGB", (3000, 1000), "red")))
    assert large.size == (1024, 341)
    assert decoded(pictures.rendition(Image.new("RGB", (64, 48)))).size == (64, 48)


def test_renditions_are_in_srgb():
    photo = Image.new("RGB", (64, 48), (60, 200, 90))
    photo.info["icc_profile"] = ADOBE_RGB
    assert decoded(pictures.rendition(photo)).getpixel((5, 5))[0] < 30  # its red lies below that of sRGB
