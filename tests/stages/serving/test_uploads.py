"""Uploads: what is a picture, what is a mask, and what is refused before it is decoded."""

import asyncio
import io
import struct
import zipfile
import zlib
from threading import Event

import numpy as np
import pytest
from PIL import Image

from stages.core.errors import InputError
from stages.serving import uploads
from stages.serving.calls import DeadlineExceededError
from stages.serving.uploads import decode, decode_alpha_mask, decode_picture
from tests.support.harness import PATIENCE
from tests.support.memory import least_peak
from tests.support.serving import picture


def file_of(image: Image.Image, kind: str = "png", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("../../evil.py", "raise SystemExit")
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["png", "webp", "bmp", "tiff"])
def test_a_picture_is_read_whatever_its_format(kind):
    options = {"lossless": True} if kind == "webp" else {}
    read = decode_picture(file_of(picture(), kind, **options), "image")
    assert read.mode == "RGB"
    assert read.tobytes() == picture().tobytes()


def test_the_header_decides_before_anything_is_decoded():
    bomb = png_header(60_000, 60_000)

    def refuse() -> None:
        with pytest.raises(InputError, match="image: more than 50,000,000 pixels"):
            decode_picture(bomb, "image")

    assert least_peak(refuse) < 2**20


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "image: is empty"),
        (b"hello", "image: not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image: not an image"),
        (b"%PDF-1.7", "image: not an image"),
        (archive(), "image: not an image"),
        (file_of(picture())[:100], "image: truncated or damaged image"),
        (file_of(picture(), "jpeg")[:-300], "image: truncated or damaged image"),
        (png_header(40, 30), "image: truncated or damaged image"),
        (png_header(0, 0), "image: "),
        (png_header(2**31 - 1, 2**31 - 1), "image: more than 50,000,000 pixels"),
        (file_of(Image.new("RGBA", (8, 8), (0, 0, 0, 0))), "image: fully transparent"),
    ],
    ids=["empty", "text", "svg", "pdf", "zip", "cut png", "cut jpeg", "no pixels", "no size", "huge", "transparent"],
)
def test_what_is_no_picture_is_refused_in_a_line(data, message):
    with pytest.raises(InputError) as refusal:
        decode_picture(data, "image")
    assert str(refusal.value).startswith(message)
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_too_large_is_not_opened(monkeypatch):
    monkeypatch.setattr(uploads, "MAX_BYTES", 100)
    monkeypatch.setattr(uploads, "picture_of", None)
    with pytest.raises(InputError, match=r"image: has \d+ bytes, allowed are 100"):
        decode_picture(file_of(picture()), "image")


def test_of_a_polyglot_only_the_pixels_are_kept():
    read = decode_picture(file_of(picture()) + archive(), "image")
    assert b"evil" not in file_of(read)
    assert read.tobytes() == picture().tobytes()


def test_what_is_transparent_in_a_mask_is_white():
    alpha = Image.fromarray(np.array([[0, 255], [127, 128]], dtype=np.uint8))
    mask = picture(2, 2)
    mask.putalpha(alpha)
    read = decode_alpha_mask(file_of(mask), "mask")
    assert read.mode == "L"
    assert np.asarray(read).tolist() == [[255, 0], [255, 0]]


def test_a_palette_may_hold_the_transparent_colour():
    mask = Image.new("P", (4, 4), 1)
    mask.paste(0, (0, 0, 2, 4))
    mask.putpalette([0, 0, 0, 255, 255, 255])
    read = decode_alpha_mask(file_of(mask, transparency=0), "mask")
    assert np.asarray(read).tolist() == [[255, 255, 0, 0]] * 4


@pytest.mark.parametrize("mask", [Image.new("L", (8, 8), 255), Image.new("RGBA", (8, 8), "white")], ids=["grey", "opaque"])
def test_a_mask_without_transparent_pixels_is_refused(mask):
    with pytest.raises(InputError, match="mask: no pixel is transparent"):
        decode_alpha_mask(file_of(mask), "mask")


def test_a_mask_is_checked_as_a_picture_is():
    with pytest.raises(InputError, match="mask: more than 50,000,000 pixels"):
        decode_alpha_mask(png_header(60_000, 60_000), "mask")


def test_a_picture_does_not_wait_for_the_decoder_for_ever(monkeypatch):
    monkeypatch.setattr(uploads, "PATIENCE", 0.05)
    free = Event()
    busy = uploads._decoder._thread.submit(free.wait, PATIENCE)
    with pytest.raises(DeadlineExceededError, match=r"not decoded within 0\.05 seconds"):
        asyncio.run(decode("a", decode_picture, file_of(picture()), "image"))
    assert not busy.done()
    free.set()


def test_the_event_loop_goes_on_while_a_picture_is_decoded():
    data = file_of(picture(4000, 4000), compress_level=1)

    async def run() -> int:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.001)
                ticks += 1

        ticking = asyncio.create_task(tick())
        await decode("a", decode_picture, data, "image")
        ticking.cancel()
        return ticks

    assert asyncio.run(run()) > 5


def test_clients_take_turns_at_the_decoder():
    done = []

    async def run() -> None:
        await asyncio.gather(*(decode(client, done.append, client) for client in "aaaabac"))

    asyncio.run(run())
    assert "".join(done) == "abcaaaa"
