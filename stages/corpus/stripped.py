"""Image files without the metadata that no pixel depends on, and on which Pillow may fail, or which it would unpack."""

PNG_SIGNATURE, JPEG_SIGNATURE = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
COMMENT, FIRST_APP, LAST_APP = 0xFE, 0xE0, 0xEF  # JPEG markers
KEPT_SEGMENTS = {0xE0: (b"JFIF\0", 14), 0xE1: (b"Exif\0", 6), 0xE2: (b"ICC_PROFILE\0", 14), 0xEE: (b"Adobe", 12)}
"""JPEG marker → how a segment begins that says how pixels are meant, and its least length in bytes."""


def strip(data: bytes) -> bytes:
    """Return a PNG or JPEG without texts, thumbnails and the like; other files, and the rest of damaged ones, unchanged."""
    if data.startswith(PNG_SIGNATURE):
        return _without(data, _png_texts(data))
    if data.startswith(JPEG_SIGNATURE):
        return _without(data, _jpeg_segments(data))
    return data


def _without(data: bytes, spans: list[tuple[int, int]]) -> bytes:
    """Return ``data`` without the bytes of rising spans (start, end)."""
    starts = [0, *(end for _, end in spans)]
    ends = [*(start for start, _ in spans), len(data)]
    return b"".join(data[start:end] for start, end in zip(starts, ends, strict=True)) if spans else data


def _png_texts(data: bytes) -> list[tuple[int, int]]:
    spans, place = [], len(PNG_SIGNATURE)
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")  # length, name, contents, checksum
        if data[place + 4 : place + 8] in PNG_TEXTS:
            spans.append((place, end))
        place = end
    return spans


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
