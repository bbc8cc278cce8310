"""Requests are untrusted: prompts, pictures and settings are cleaned or refused in one line."""

from contextlib import suppress

import numpy as np
import pytest

from stages.core.errors import InputError
from stages.editing.inputs import check_prompt, decode_picture, read_picture, read_sampling
from tests.support.samples import encoded, picture


def test_prompt_is_a_clean_line_or_refused():
    assert check_prompt(" a red\tcar\x1b[31m\ud800 ") == "a red car [31m"
    for blank in ("", " \n\t", "\x00\x1b\u200b", None, 7):
        with pytest.raises(InputError, match="prompt: must not be blank"):
            check_prompt(blank)


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
    monkeypatch.setattr("stages.editing.inputs.MAX_BYTES", 20)
    with pytest.raises(InputError, match="larger than 20 bytes"):
        read_picture(tmp_path / "b")
    with pytest.raises(InputError, match="image: not base64"):
        decode_picture("\x1b[2J")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"sampling": 3}', '{"sampling": {"steps": 3}}', "\ufeffx"])
def test_damaged_settings_are_refused(tmp_path, content):
    (tmp_path / "iedit.json").write_text(content)
    with pytest.raises(InputError, match=r"iedit\.json: ") as error:
        read_sampling(tmp_path)
    assert str(error.value).isprintable()
