"""Metadata inside image files: whatever a file says about itself, a sound picture is read, and a bad one is refused."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from stages.corpus import images
from stages.corpus.profiles import srgb_profile
from stages.corpus.stripped import strip
from tests.support.samples import encoded, noise

PICTURE = noise(0)


def load(data: bytes) -> Image.Image:
    return images.load(data, max_pixels=10_000)


def png_with(*chunks: tuple[bytes, bytes], damage: bool = False) -> bytes:
    """A PNG with more chunks after its header, with wrong checksums if ``damage``."""
    plain = encoded(PICTURE)
    extra = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data) ^ damage)
        for name, data in chunks
    )
    return plain[:33] + extra + plain[33:]


LONG = zlib.compress(bytes(1_500_000))
ODD_TEXTS = {
    "long zTXt": png_with((b"zTXt", b"Comment\0\0" + LONG)),
    "long iTXt": png_with((b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LONG)),
    "long tEXt": png_with((b"tEXt", b"Comment\0" + b"a" * 3_000_000)),
    "many texts": png_with(*[(b"zTXt", b"Comment\0\0" + LONG)] * 100),
    "broken zTXt": png_with((b"zTXt", b"Comment\0\0" + b"\x99" * 50)),
    "texts with wrong checksums": png_with((b"tEXt", b"Comment\0a"), damage=True),
    "text without a key": png_with((b"tEXt", b""), (b"iTXt", b"x"), (b"zTXt", b"x\0\7")),
    "text after the pixels": png_with()[:-12] + png_with((b"zTXt", b"a\0\0" + LONG))[33:][: len(LONG) + 15] + png_with()[-12:],
    "odd EXIF": png_with((b"eXIf", b"MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\x00\x99" * 30)),
    "odd unknown chunk": png_with((b"vpAg", b"x" * 9)),
    "zero density": png_with((b"pHYs", bytes(9))),
}


@pytest.mark.parametrize("name", ODD_TEXTS)
def test_texts_of_a_png_cost_no_picture(name):
    assert load(ODD_TEXTS[name]).tobytes() == PICTURE.tobytes()


PROFILE = b"name\0\0" + zlib.compress(srgb_profile())
ANCILLARY = {
    "acTL": struct.pack(">II", 2, 0),
    "bKGD": bytes(6),
    "caNv": bytes(16),
    "cHRM": struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000),
    "cICP": b"\1\r\0\1",
    "cLLI": bytes(8),
    "eXIf": b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0" + bytes(4),
    "fcTL": struct.pack(">5IHH2B", 0, 32, 32, 0, 0, 1, 1, 0, 0),
    "fdAT": bytes(4),
    "gAMA": struct.pack(">I", 45455),
    "hIST": bytes(6),
    "iCCP": PROFILE,
    "iTXt": b"key\0\0\0\0\0text",
    "mDCV": bytes(24),
    "pHYs": struct.pack(">IIB", 2835, 2835, 1),
    "sBIT": b"\x08\x08\x08",
    "sPLT": b"name\0\x08",
    "sRGB": b"\0",
    "tEXt": b"key\0text",
    "tIME": struct.pack(">HBBBBB", 2026, 11, 28, 10, 0, 0),
    "vpAg": bytes(9),
    "zTXt": b"key\0\0" + zlib.compress(b"text"),
}
"""Every chunk that a PNG may leave out, except the one that is about pixels."""
DAMAGES = ("bad checksum", "short", "empty")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ANCILLARY)
def test_damaged_ancillary_chunk_costs_no_picture(name, damage):
    whole = ANCILLARY[name]
    data = {"bad checksum": whole, "short": whole[: len(whole) // 2], "empty": b""}[damage]
    odd = png_with((name.encode(), data), damage=damage == "bad checksum")
    assert load(odd).tobytes() == PICTURE.tobytes()


@pytest.mark.parametrize(
    "data",
    [
        b"name\0\0" + zlib.compress(bytes(17_000_000), 9),
        b"name\0\1" + zlib.compress(srgb_profile()),
        b"name without an end",
        b"name\0",
        b"name\0\0\x99\x99\x99",
        PROFILE[:-4],
        b"\xff" * 100,
    ],
    ids=["17 MB", "unknown method", "no end of name", "no method", "no zlib", "cut in the checksum", "noise"],
)
def test_odd_profile_costs_no_picture(data):
    assert load(png_with((b"iCCP", data))).tobytes() == PICTURE.tobytes()


def test_sound_exif_and_profile_of_a_png_are_kept():
    assert load(png_with((b"eXIf", ANCILLARY["eXIf"]))).tobytes() == PICTURE.transpose(Image.Transpose.ROTATE_270).tobytes()
    assert strip(png_with((b"iCCP", PROFILE))) == png_with((b"iCCP", PROFILE))


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_transparency_of_a_png_is_refused(damage):
    data = {"bad checksum": bytes(6), "short": bytes(3), "empty": b""}[damage]
    with pytest.raises(images.Refused, match=r"not an image|truncated or damaged image"):
        load(png_with((b"tRNS", data), damage=damage == "bad checksum"))


def test_texts_are_not_unpacked():
    """100 MB of zeros in a few KB would be refused, or take memory, if anybody looked at them."""
    bomb = zlib.compress(bytes(100_000_000), 9)
    assert load(png_with((b"zTXt", b"Comment\0\0" + bomb))).tobytes() == PICTURE.tobytes()


def jpeg_with(*segments: tuple[int, bytes]) -> bytes:
    plain = encoded(PICTURE, "jpeg", quality=90)
    extra = b"".join(b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data for marker, data in segments)
    return plain[:2] + extra + plain[2:]


def exif(orientation_type: int, value: bytes, count: int = 1) -> bytes:
    """EXIF whose orientation has any type and value."""
    return b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHI", 0x0112, orientation_type, count) + value + bytes(4)


ODD_SEGMENTS = {
    "orientation as text": (0xE1, exif(2, b"6\0\0\0", 2)),
    "orientation as three numbers": (0xE1, exif(1, b"\6\6\6\0", 3)),
    "orientation as a fraction": (0xE1, exif(5, b"\0\0\0\x08")),
    "orientation 99": (0xE1, exif(3, b"\0\x63\0\0")),
    "EXIF cut short": (0xE1, exif(3, b"")[:20]),
    "EXIF of a random kind": (0xE1, b"Exif\0\0" + np.random.default_rng(1).bytes(400)),
    "directory that contains itself": (0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\1\x87\x69\0\4\0\0\0\1\0\0\0\x08" + bytes(4)),
    "Photoshop data cut short": (0xED, b"Photoshop 3.0\x008BIM\x04\x04\xff"),
    "Adobe marker cut short": (0xEE, b"Adobe"),
    "several pictures, cut short": (0xE2, b"MPF\0MM\0*\0\0\0\x08"),
    "profile cut short": (0xE2, b"ICC_PROFILE\0\1\1" + bytes(40)),
    "profile in parts of which one is missing": (0xE2, b"ICC_PROFILE\0\1\3" + bytes(40)),
    "JFIF of nothing": (0xE0, b"JFIF\0"),
    "comment that is no text": (0xFE, bytes(range(256))),
}


@pytest.mark.parametrize("name", ODD_SEGMENTS)
def test_odd_segments_of_a_jpeg_cost_no_picture(name):
    assert load(jpeg_with(ODD_SEGMENTS[name])).tobytes() == load(encoded(PICTURE, "jpeg", quality=90)).tobytes()


@pytest.mark.parametrize("kind", ["webp", "tiff"])
def test_random_exif_costs_no_picture(kind):
    rng = np.random.default_rng(0)
    options = {"lossless": True} if kind == "webp" else {}
    plain = load(encoded(PICTURE, kind, **options))
    if kind == "tiff":
        odd = encoded(PICTURE, kind, tiffinfo={37510: b"\xff\xfe broken", 270: "x" * 100_000}, **options)
        assert load(odd).tobytes() == plain.tobytes()
        return
    for _ in range(20):
        assert load(encoded(PICTURE, kind, exif=b"Exif\0\0" + rng.bytes(60), **options)).tobytes() == plain.tobytes()


def test_large_profile_is_read():
    profile = b"\x00" * 3_000_000  # longer than Pillow's limit for any compressed chunk
    assert load(png_with((b"iCCP", b"name\0\0" + zlib.compress(profile)))).tobytes() == PICTURE.tobytes()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16"])
def test_fully_transparent_picture_is_refused(mode):
    options = {"transparency": 0} if mode in ("P", "I;16") else {}
    with pytest.raises(images.Refused, match=r"^fully transparent$"):
        load(encoded(Image.new(mode, (32, 32)), **options))


def test_avif_is_read_and_counted_among_the_formats():
    assert "AVIF" in images.FORMATS
    smooth = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    assert np.abs(np.asarray(load(encoded(smooth, "avif", quality=95)), int) - np.asarray(smooth, int)).max() < 6
    with pytest.raises(images.Refused, match="more than 10,000 pixels"):
        load(encoded(noise(0, 101), "avif"))
    with pytest.raises(images.Refused, match=r"^truncated or damaged image$|^not an image"):
        load(encoded(PICTURE, "avif")[:-100])


def test_heic_is_read_where_its_library_is_installed():
    assert ("HEIF" in images.FORMATS) == images.HAS_HEIF
    if images.HAS_HEIF:
        assert load(encoded(PICTURE.resize((64, 64)), "heif", quality=90)).size == (64, 64)


@pytest.mark.parametrize("brands", [b"heic\0\0\0\0mif1heic", b"mif1\0\0\0\0mif1miafheic"])
def test_heic_without_its_library_names_it(monkeypatch, brands):
    monkeypatch.setattr(images, "HAS_HEIF", False)
    with pytest.raises(images.Refused, match=r"^HEIC is read where the package pillow-heif is installed$"):
        load((8 + len(brands)).to_bytes(4, "big") + b"ftyp" + brands + b"\0\0\0\x08mdat")


def test_pillows_limit_of_compressed_chunks_is_ours():
    assert PngImagePlugin.MAX_TEXT_CHUNK == 16 * 2**20
