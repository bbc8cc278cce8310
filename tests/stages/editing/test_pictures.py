"""Pictures from outside are decoded or refused in one line."""

import base64
import io
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.core.errors import InputError
from stages.corpus.images import on_white
from stages.editing.colours import as_seen
from stages.editing.pictures import (
    decode_mask,
    decode_picture,
    encode_picture,
    picture_of,
    read_mask,
    read_picture,
    write_picture,
)
from tests.support.icc import ADOBE_RGB
from tests.support.samples import encoded, picture

RED = (200, 30, 30)


def both_ways(data: bytes, folder: Path) -> list[Image.Image]:
    """A picture as it is read from a file, and from a request."""
    (folder / "a").write_bytes(data)
    return [read_picture(folder / "a"), decode_picture(base64.b64encode(data).decode())]


def disc(mode: str) -> bytes:
    """A red square on nothing, in the middle of 8 × 8 pixels."""
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((*RED, 255), (2, 2, 6, 6))
    if mode == "P":
        palette = Image.new("P", (8, 8), 0)
        palette.putpalette([0, 0, 0, *RED])
        palette.paste(1, (2, 2, 6, 6))
        return encoded(palette, transparency=0)
    if mode == "RGB":
        return encoded(image.convert("RGB"), transparency=(0, 0, 0))
    return encoded(image.convert(mode))


@pytest.mark.parametrize("mode", ["RGBA", "P", "RGB"])
def test_transparent_parts_stay_so_whatever_the_way(tmp_path, mode):
    for found in both_ways(disc(mode), tmp_path):
        assert (found.mode, found.getpixel((0, 0))[3], found.getpixel((4, 4))) == ("RGBA", 0, (*RED, 255))
        assert on_white(found).getpixel((0, 0)) == (255, 255, 255)


def test_an_opaque_picture_has_no_alpha(tmp_path):
    for found in both_ways(encoded(Image.new("RGBA", (4, 4), (*RED, 255))), tmp_path):
        assert (found.mode, found.getpixel((0, 0))) == ("RGB", RED)


def test_half_transparent_grey_is_half_white(tmp_path):
    for found in both_ways(encoded(Image.merge("LA", (Image.new("L", (4, 4), 0), Image.new("L", (4, 4), 128)))), tmp_path):
        assert found.getpixel((0, 0)) == (0, 0, 0, 128)
        assert on_white(found).getpixel((0, 0)) == (127, 127, 127)


def test_transparent_pictures_are_turned_and_keep_their_profile(tmp_path):
    """Orientation 6: the file's left side is the top of the picture."""
    exif = Image.Exif()
    exif[274] = 6
    image = Image.new("RGBA", (3, 2), (60, 200, 90, 255))
    image.putpixel((0, 0), (60, 200, 90, 0))
    for found in both_ways(encoded(image, icc_profile=ADOBE_RGB, exif=exif), tmp_path):
        assert found.size == (2, 3)
        assert np.argwhere(np.asarray(found)[..., 3] == 0).tolist() == [[0, 1]]
        assert (found.getpixel((0, 0)), found.info["icc_profile"]) == ((60, 200, 90, 255), ADOBE_RGB)
        assert as_seen(found).getpixel((0, 0))[0] < 5


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_transparent_results_keep_their_alpha_where_they_can(kind):
    image, buffer = picture(size=16), io.BytesIO()
    image.putalpha(0)
    write_picture(image, buffer, kind)
    found = Image.open(buffer).convert("RGBA").getpixel((0, 0))
    assert found[3] == 0 if kind != "jpeg" else found == (255, 255, 255, 255)


def test_grey_of_16_bits_keeps_its_brightness(tmp_path):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, axis=0)
    for found in both_ways(encoded(Image.fromarray(ramp)), tmp_path):
        np.testing.assert_array_equal(np.asarray(found)[0, :, 0], np.arange(256))
    for found in both_ways(encoded(Image.fromarray(ramp), "tiff"), tmp_path):
        assert abs(np.asarray(found).mean() - 127.5) < 1


def test_a_profile_is_kept_and_seen_in_srgb(tmp_path):
    for found in both_ways(encoded(Image.new("RGB", (4, 4), (60, 200, 90)), icc_profile=ADOBE_RGB), tmp_path):
        assert (found.getpixel((0, 0)), found.info["icc_profile"]) == ((60, 200, 90), ADOBE_RGB)
        assert as_seen(found).getpixel((0, 0))[0] < 5  # this green lies outside sRGB, which has no red left to take away


@pytest.mark.parametrize("kind", ["png", "webp"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_files_without_loss_keep_pixels_and_profile(kind, mode):
    image, buffer = picture(size=16), io.BytesIO()
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize((16, 16)))
        image.putpixel((3, 0), (10, 20, 30, 0))
    image.info["icc_profile"] = ADOBE_RGB
    write_picture(image, buffer, kind)
    found = picture_of(buffer.getvalue(), "image")
    assert found.mode == mode
    assert found.tobytes() == image.tobytes()
    assert found.info["icc_profile"] == ADOBE_RGB


def test_results_are_labelled_and_read_back_unchanged():
    image = picture(size=16)
    text = encode_picture(image)
    assert b"sRGB" in Image.open(io.BytesIO(base64.b64decode(text))).info["icc_profile"].replace(b"\0", b"")
    assert decode_picture(text).tobytes() == image.tobytes()


def test_masks_keep_their_own_values():
    levels = np.array([[0, 1], [1, 0]], dtype=np.uint16)
    text = base64.b64encode(encoded(Image.fromarray(levels))).decode()
    assert np.asarray(decode_mask(text)).tolist() == levels.tolist()


def test_masks_are_turned_as_their_pictures_are(tmp_path):
    """Orientation 6: the file's left side is the top of the picture."""
    exif = Image.Exif()
    exif[274] = 6
    mask = Image.fromarray(np.array([[0, 1], [0, 0], [0, 0]], dtype=np.uint8))
    (tmp_path / "mask.png").write_bytes(encoded(mask, exif=exif))
    (tmp_path / "photo.png").write_bytes(encoded(mask.convert("RGB"), exif=exif))
    found = read_mask(tmp_path / "mask.png")
    assert found.size == read_picture(tmp_path / "photo.png").size == (3, 2)
    assert np.asarray(found).tolist() == [[0, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize("exif", [b"Exif\0\0II", b"Exif\0\0" + b"\xff" * 40])
def test_odd_exif_costs_no_mask(exif):
    text = base64.b64encode(encoded(Image.new("L", (4, 4), 1), exif=exif)).decode()
    assert decode_mask(text).size == (4, 4)


def test_damaged_picture_is_refused_or_decoded(tmp_path):
    rng = np.random.default_rng(0)
    for kind in ("png", "jpeg", "webp"):
        data = np.frombuffer(encoded(picture(size=32), kind), dtype=np.uint8)
        for _ in range(40):
            broken = data.copy()
            broken[rng.integers(len(data), size=4)] = rng.integers(256, size=4)
            (tmp_path / "a").write_bytes(broken[: rng.integers(1, len(data) + 1)].tobytes())
            with suppress(InputError):
                assert read_picture(tmp_path / "a").size


def test_unusable_picture_is_refused(tmp_path, monkeypatch):
    for name, message in (("none", "no such file"), (".", "not a file"), ("new\nline\x1b", r"new\\nline\\x1b: no such file")):
        with pytest.raises(InputError, match=message):
            read_picture(tmp_path / name)
    (tmp_path / "b").write_bytes(encoded(picture()))
    monkeypatch.setattr("stages.editing.pictures.MAX_BYTES", 20)
    with pytest.raises(InputError, match="larger than 20 bytes"):
        read_picture(tmp_path / "b")
    with pytest.raises(InputError, match="image: not base64"):
        decode_picture("\x1b[2J")


def test_picture_larger_than_the_limit_is_not_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photo.png").write_bytes(encoded(picture()))
    monkeypatch.setattr("stages.editing.pictures.MAX_BYTES", 10)
    with pytest.raises(InputError, match=r"^image photo\.png: larger than 10 bytes$"):
        read_picture(Path("photo.png"))


def test_failing_disk_is_reported_with_the_picture(tmp_path, monkeypatch):
    def fail(_: Path) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.chdir(tmp_path)
    Path("photo.png").write_bytes(encoded(picture()))
    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(InputError, match=r"^mask photo\.png: Input/output error$"):
        read_mask(Path("photo.png"))


def test_picture_of_too_many_pixels_is_not_decoded(monkeypatch):
    monkeypatch.setattr("stages.editing.pictures.MAX_PIXELS", 10)
    with pytest.raises(InputError, match="image: more than 10 pixels"):
        decode_picture(encode_picture(picture(size=32)))
