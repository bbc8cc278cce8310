"""Image files without the metadata that no pixel depends on, and on which Pillow may fail, or which it would unpack."""

import zlib

PNG_SIGNATURE, JPEG_SIGNATURE = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
MAX_PROFILE = 16 * 2**20  # bytes of an unpacked colour profile
COMMENT, FIRST_APP, LAST_APP = 0xFE, 0xE0, 0xEF  # JPEG markers
KEPT_SEGMENTS = {0xE0: (b"JFIF\0", 14), 0xE1: (b"Exif\0", 6), 0xE2: (b"ICC_PROFILE\0", 14), 0xEE: (b"Adobe", 12)}
"""JPEG marker → how a segment begins that says how pixels are meant, and its least length in bytes."""


def strip(data: bytes) -> bytes:
    """Return a PNG or JPEG without texts, thumbnails and the like; other files, and the rest of damaged ones, unchanged.

    A PNG keeps its pixels, and of the ancillary chunks its colour profile and EXIF if they are sound; of an animation the
    first picture is left.
    """
    if data.startswith(PNG_SIGNATURE):
        return _without(data, _png_chunks(data))
    if data.startswith(JPEG_SIGNATURE):
        return _without(data, _jpeg_segments(data))
    return data


def _without(data: bytes, spans: list[tuple[int, int]]) -> bytes:
    """Return ``data`` without the bytes of rising spans (start, end)."""
    starts = [0, *(end for _, end in spans)]
    ends = [*(start for start, _ in spans), len(data)]
    return b"".join(data[start:end] for start, end in zip(starts, ends, strict=True)) if spans else data


def _png_chunks(data: bytes) -> list[tuple[int, int]]:
    """Return the spans of chunks that decide no pixel, or are damaged and may be missing."""
    spans, place = [], len(PNG_SIGNATURE)
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")  # length, name, contents, checksum
        if data[place + 4 : place + 8] not in PNG_PIXELS and not _is_sound(data[place + 4 : end]):
            spans.append((place, end))
        place = end
    return spans


def _is_sound(chunk: bytes) -> bool:
    """Return whether a chunk, from its name to its checksum, is EXIF or a colour profile that Pillow can unpack."""
    name, contents, checksum = chunk[:4], chunk[4:-4], chunk[-4:]
    if name not in (b"eXIf", b"iCCP") or zlib.crc32(name + contents) != int.from_bytes(checksum, "big"):
        return False
    return name == b"eXIf" or _is_profile(contents)  # what cannot be read in EXIF is ignored later


def _is_profile(contents: bytes) -> bool:
    """Return whether an iCCP chunk holds a name, method 0, and a profile that unpacks to at most MAX_PROFILE bytes."""
    _, _, packed = contents.partition(b"\0")
    unpacker = zlib.decompressobj()
    try:
        unpacker.decompress(packed[1:], MAX_PROFILE)
    except zlib.error:
        return False
    return packed.startswith(b"\0") and unpacker.eof


def _jpeg_segments(data: bytes) -> list[tuple[int, int]]:
    """Return the spans of comments and application segments before the pixels that are not in KEPT_SEGMENTS."""
    spans, place = [], len(JPEG_SIGNATURE)
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker, end = data[place + 1], place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if marker != COMMENT and not FIRST_APP <= marker <= LAST_APP:
            if marker == 0xDA or not 0xC0 <= marker <= 0xFE:  # the pixels begin, or something that has no length
                break
        else:
            name, least = KEPT_SEGMENTS.get(marker, (b"", len(data)))
            if not data.startswith(name, place + 4) or end - place - 4 < least:
                spans.append((place, end))
        place = end
    return spans
