"""Pictures from outside are decoded or refused in one line."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from stages.core.errors import InputError
from stages.editing.pictures import decode_picture, encode_picture, read_picture
from tests.support.samples import encoded, picture


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
        read_picture(Path("photo.png"), "mask")


def test_picture_of_too_many_pixels_is_not_decoded(monkeypatch):
    monkeypatch.setattr("stages.editing.pictures.MAX_PIXELS", 10)
    with pytest.raises(InputError, match="image: more than 10 pixels"):
        decode_picture(encode_picture(picture(size=32)))
