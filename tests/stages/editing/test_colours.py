"""Colours of edits under a photograph's own profile, by the definitions of sRGB and Adobe RGB."""

import pytest
from PIL import Image

from stages.editing.colours import as_seen, in_colours_of, own_profile
from tests.support.icc import ADOBE_RGB, grey_profile


def image_with(profile: bytes | None, mode: str = "RGB") -> Image.Image:
    image = Image.new(mode, (2, 2))
    image.info["icc_profile"] = profile
    return image


@pytest.mark.parametrize(
    ("srgb", "adobe"),
    [
        ((255, 0, 0), (219, 0, 0)),
        ((0, 255, 0), (144, 255, 60)),
        ((0, 0, 255), (0, 0, 250)),
        ((255, 255, 255), (255, 255, 255)),
    ],
)
def test_an_edit_has_the_photographs_colours(srgb, adobe):
    found = in_colours_of(image_with(ADOBE_RGB), Image.new("RGB", (2, 2), srgb))
    assert found.getpixel((0, 0)) == pytest.approx(adobe, abs=2)
    assert own_profile(found) == ADOBE_RGB
    assert as_seen(found).getpixel((0, 0)) == pytest.approx(srgb, abs=3)


@pytest.mark.parametrize(
    "image",
    [
        image_with(None),
        image_with(b"x"),
        image_with(ADOBE_RGB[:200]),
        image_with(grey_profile(2.2)),
        image_with(ADOBE_RGB, "L"),
        image_with(ADOBE_RGB, "CMYK"),
    ],
    ids=["none", "no profile", "cut off", "of greys", "grey pixels", "CMYK pixels"],
)
def test_other_profiles_change_nothing(image):
    edit = Image.new("RGB", (2, 2), (9, 200, 40))
    assert own_profile(image) is None
    assert in_colours_of(image, edit).tobytes() == edit.tobytes()
