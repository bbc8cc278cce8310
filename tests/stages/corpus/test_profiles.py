"""Colours of pictures with a profile, against conversions that are computed here from the standards."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from stages.corpus import images, profiles
from tests.support.icc import ADOBE_RGB, grey_profile, matrix_profile
from tests.support.samples import encoded

# Linear RGB to XYZ, both with the white point D65: IEC 61966-2-1, and Adobe RGB (1998), 4.3.5.3.
SRGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
ADOBE_TO_XYZ = np.array([[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]])


def load(data: bytes) -> np.ndarray:
    return np.asarray(images.load(data, max_pixels=10_000)).astype(int)


def swatches(*colours: tuple[int, int, int]) -> Image.Image:
    return Image.fromarray(np.array([colours], dtype=np.uint8))


def adobe_as_srgb(colours: np.ndarray) -> np.ndarray:
    """Adobe RGB (1998) levels as sRGB levels, by the definitions of the two spaces (both have the white point D65)."""
    linear = (colours / 255) ** (563 / 256) @ ADOBE_TO_XYZ.T @ np.linalg.inv(SRGB_TO_XYZ).T
    linear = linear.clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff"])
def test_adobe_rgb_becomes_srgb(kind):
    colours = [(60, 120, 90), (200, 180, 40), (128, 128, 128), (90, 60, 150), (250, 250, 250), (0, 0, 0)]
    picture = swatches(*colours).resize((16 * len(colours), 16), Image.Resampling.NEAREST)
    options = {"quality": 100, "subsampling": 0} if kind == "jpeg" else {"lossless": True} if kind == "webp" else {}
    found = load(encoded(picture, kind, icc_profile=ADOBE_RGB, **options))[8, 8::16]
    np.testing.assert_allclose(found, adobe_as_srgb(np.array(colours)), atol=3)
    assert np.abs(found - colours).max() > 8


def test_transparent_parts_of_adobe_rgb_are_white():
    picture = Image.new("RGBA", (4, 4), (60, 200, 90, 0))
    picture.putpixel((0, 3), (60, 200, 90, 255))
    assert load(encoded(picture, icc_profile=ADOBE_RGB))[:3].tolist() == [[[255] * 3] * 4] * 3


def test_srgb_profiles_change_no_pixel():
    noise = Image.fromarray(np.random.default_rng(0).integers(256, size=(16, 16, 3), dtype=np.uint8))
    made_here = matrix_profile(2.2, ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)), srgb_curve=True)
    for profile in (profiles.srgb_profile(), made_here):
        assert np.array_equal(load(encoded(noise, icc_profile=profile)), np.asarray(noise))


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_pictures_follow_their_own_profile(mode):
    level = 255 if mode == "1" else 100
    grey = Image.new("L", (4, 4), level).convert(mode)
    linear = encoded(grey, icc_profile=grey_profile(1.0))
    wanted = 255 * (1.055 * (level / 255) ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(load(linear), wanted, atol=2)
    assert load(encoded(grey, icc_profile=ADOBE_RGB)).tolist() == load(encoded(grey)).tolist()  # made for other pixels


@pytest.mark.parametrize("profile", [b"x", b"\x00" * 128, ADOBE_RGB[:200], ADOBE_RGB[:-40] + bytes(40)])
def test_damaged_profiles_are_ignored(profile):
    picture = swatches((60, 120, 90))
    found = load(encoded(picture, icc_profile=profile))
    assert found.shape == (1, 1, 3)


def test_a_profile_for_other_pixels_is_ignored():
    picture = Image.new("CMYK", (4, 4), (0, 100, 200, 0))
    plain = load(encoded(picture, "tiff"))
    assert np.array_equal(load(encoded(picture, "tiff", icc_profile=ADOBE_RGB)), plain)


def test_the_label_is_always_the_same_bytes():
    assert profiles.srgb_profile() == profiles.srgb_profile()
    label = ImageCms.ImageCmsProfile(io.BytesIO(profiles.srgb_profile()))
    assert "sRGB" in ImageCms.getProfileDescription(label)
    assert profiles.srgb_profile()[24:36].hex() == "07d000010001000000000000"
