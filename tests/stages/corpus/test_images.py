"""Decoding: which image files are refused and why, and how every mode, orientation and size becomes an RGB square."""

import os
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from stages.corpus import images
from tests.support import ROOT
from tests.support.samples import encoded, noise


def _load(data: bytes) -> Image.Image:
    return images.load(data, max_pixels=10_000)


def _png_header(width: int, height: int) -> bytes:
    """Return a PNG whose header announces a size that its data do not have."""
    chunks = [b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(bytes(9)), b"IEND"]
    whole = (struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(whole)


def _tiff_with_tile(side: int) -> bytes:
    """Return a black TIFF of 16 x 16 pixels, cut from one tile of ``side`` x ``side``."""
    data = zlib.compress(bytes(side * side))
    shorts = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1}  # sides, bits, deflate, grey, one band
    longs = {322: side, 323: side, 324: 8, 325: len(data)}  # the tile's sides, offset and bytes
    tags = [struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in shorts.items()]
    tags += [struct.pack("<HHII", tag, 4, 1, value) for tag, value in longs.items()]
    return struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + struct.pack("<H", len(tags)) + b"".join(tags) + bytes(4)


def _gif_with_frame(side: int) -> bytes:
    """Return a GIF that announces 16 x 16 pixels but has a larger frame."""
    head = b"GIF89a" + struct.pack("<HHBBB", 16, 16, 0x80, 0, 0) + bytes(6)
    return head + b"," + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x02\x02\x4c\x01\x00;"


PNG = encoded(noise(0))


BAD_IMAGES = {
    "empty": (b"", "empty file"),
    "web page": (b"<html>not found</html>", "not an image"),
    "format not in the list": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    "half a PNG": (PNG[: len(PNG) // 2], "truncated or damaged"),
    "cut JPEG": (encoded(noise(0), "jpeg")[:-200], "truncated or damaged"),
    "cut GIF": (encoded(noise(0), "gif")[:-300], "truncated or damaged"),
    "cut BMP": (encoded(noise(0), "bmp")[:-300], "truncated or damaged"),
    "cut TIFF": (encoded(noise(0), "tiff")[:-300], "truncated or damaged|not an image"),
    "cut WEBP": (encoded(noise(0), "webp")[:-100], "truncated or damaged|not an image"),
    "PNG with a hole": (PNG[:60] + b"\x99" * 40 + PNG[100:], "truncated or damaged"),
    "bomb": (_png_header(2**31 - 1, 2**31 - 1), "more than 10,000 pixels"),
    "header above the limit": (_png_header(150, 100), "more than 10,000 pixels"),
    "header below the limit": (_png_header(100, 100), "truncated or damaged"),
    "TIFF with a small tile": (_tiff_with_tile(96)[:-40], "truncated or damaged"),
    "TIFF with a large tile": (_tiff_with_tile(4096), "more than 10,000 pixels"),
    "GIF with a large frame": (_gif_with_frame(65_000), "more than 10,000 pixels"),
    "floats": (encoded(Image.new("F", (32, 32)), "tiff"), "32 bits"),
} | {
    f"large {kind}": (encoded(noise(0, 101), kind), "more than 10,000 pixels")
    for kind in ("png", "jpeg", "webp", "bmp", "gif", "tiff")
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_bad_image_is_refused_with_a_reason(name):
    data, reason = BAD_IMAGES[name]
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(images.Refused, match=reason):
        _load(data)
    assert before == Image.MAX_IMAGE_PIXELS


def test_tile_within_the_limit_is_decoded():
    assert _load(_tiff_with_tile(96)).size == (16, 16)


def test_what_all_threads_share_stays_as_it_is():
    before = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    with images.decoded(PNG, ("PNG",), 10_000):
        assert (Image.MAX_IMAGE_PIXELS, warnings.filters) == before


def test_pillow_does_not_warn_of_what_is_refused():
    code = """
import sys
from stages.corpus import images
try:
    images.load(sys.stdin.buffer.read(), max_pixels=10_000)
except images.Refused as reason:
    print(reason)
"""
    size = 12_000, 8_000  # more than Pillow warns of, fewer than it refuses
    said = subprocess.run(
        [sys.executable, "-c", code],
        input=_png_header(*size),
        capture_output=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert (said.stdout, said.stderr) == (b"more than 10,000 pixels\n", b"")


MODES = {
    "CMYK": (encoded(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), "jpeg"), (254, 0, 0)),
    "16-bit PNG": (encoded(Image.fromarray(np.full((32, 32), 0x8040, np.uint16))), (128, 128, 128)),
    "16-bit TIFF": (encoded(Image.fromarray(np.full((32, 32), 0x8040, np.uint16)), "tiff"), (128, 128, 128)),
    "grey": (encoded(Image.new("L", (32, 32), 77)), (77, 77, 77)),
    "one bit": (encoded(Image.new("1", (32, 32), 1)), (255, 255, 255)),
    "palette": (encoded(Image.new("RGB", (32, 32), (9, 99, 199)).quantize(4)), (9, 99, 199)),
    "hardly opaque": (encoded(Image.new("RGBA", (32, 32), (255, 0, 0, 1))), (255, 254, 254)),
    "half transparent grey": (encoded(Image.new("LA", (32, 32), (0, 128))), (127, 127, 127)),
    "transparent palette": (encoded(Image.new("P", (32, 32)), transparency=bytes([128])), (127, 127, 127)),
    "transparent WEBP": (encoded(Image.new("RGBA", (32, 32), (255, 0, 0, 128)), "webp", lossless=True), (255, 127, 127)),
    "Lab": (encoded(Image.new("LAB", (32, 32), (128, 128, 128)), "tiff"), (119, 119, 119)),
    "AVIF": (encoded(Image.new("RGB", (32, 32), (9, 99, 199)), "avif", quality=100), (9, 99, 199)),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode_becomes_rgb(name):
    data, colour = MODES[name]
    image = _load(data)
    assert image.mode == "RGB"
    assert np.abs(np.asarray(image).astype(int) - colour).max() <= 2


def test_transparent_level_of_16_bit_grey_is_white():
    levels = np.full((32, 32), 0x8040, np.uint16)
    levels[:16] = 0x8041  # the same level in 8 bits
    image = _load(encoded(Image.fromarray(levels), transparency=0x8041))
    assert np.unique(image.crop((0, 0, 32, 16))).tolist() == [255]
    assert np.unique(image.crop((0, 16, 32, 32))).tolist() == [0x80]


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(kind, orientation):
    picture = Image.new("RGB", (40, 24), "blue")
    picture.paste((255, 0, 0), (0, 0, 20, 12))  # upright: red at the top left
    undo = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}.get(orientation, images.UPRIGHT.get(orientation))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if kind in ("jpeg", "webp") else {}
    image = _load(encoded(picture if undo is None else picture.transpose(undo), kind, exif=exif, **options))
    assert image.size == (40, 24)
    assert np.abs(np.asarray(image).astype(int) - np.asarray(picture)).mean() < 12


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "tiff"])
def test_first_frame_is_taken(kind):
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if kind == "webp" else {}
    image = _load(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    assert image.getpixel((5, 5))[::2] == (255, 0) or image.getpixel((5, 5)) == (254, 0, 0)


def test_fit_crops_the_centre_and_keeps_fitting_images():
    wide = Image.new("RGB", (60, 20), "black")
    wide.paste((255, 255, 255), (20, 0, 40, 20))
    assert images.fit(wide, size=16, min_side=20).getextrema() == ((255, 255),) * 3
    assert images.fit(noise(1), size=32, min_side=1).tobytes() == noise(1).tobytes()
    with pytest.raises(images.Refused, match=r"^shorter side below ingest\.min_side = 21: 60 x 20 pixels$"):
        images.fit(wide, size=16, min_side=21)


@pytest.mark.parametrize("side", [16, 33, 95, 192, 413])
def test_fit_scales_as_pillow_does(side):
    picture = Image.effect_mandelbrot((side, side), (-2, -1.5, 1, 1.5), 40).convert("RGB")
    expected = picture.resize((32, 32), Image.Resampling.BICUBIC, reducing_gap=3.0)
    difference = np.asarray(images.fit(picture, size=32, min_side=1)).astype(int) - np.asarray(expected)
    assert np.abs(difference).max() <= 2


def test_random_damage_is_refused_or_decoded():
    rng = np.random.default_rng(0)
    for kind in ("png", "jpeg", "webp", "bmp", "gif", "tiff"):
        whole = np.frombuffer(encoded(noise(0), kind), dtype=np.uint8)
        for _ in range(40):
            data = whole.copy()
            data[rng.integers(len(data), size=4)] = rng.integers(256, size=4)
            try:
                assert _load(data[: rng.integers(1, len(data) + 1)].tobytes()).mode == "RGB"
            except images.Refused:
                continue


def test_lack_of_memory_is_not_blamed_on_the_image(monkeypatch):
    def fail(_: Image.Image) -> None:
        raise MemoryError

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    with pytest.raises(MemoryError):
        _load(PNG)


def test_transparent_parts_are_put_on_white():
    picture = Image.new("RGBA", (2, 1), (200, 30, 30, 255))
    picture.putpixel((0, 0), (200, 30, 30, 0))
    assert [images.on_white(picture).getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (200, 30, 30)]
    assert images.on_white(Image.new("L", (1, 1), 7)).getpixel((0, 0)) == (7, 7, 7)
