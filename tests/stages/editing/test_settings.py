"""Prompts and settings from outside are cleaned or refused in one line."""

import pytest

from stages.core.errors import InputError
from stages.editing.settings import check_prompt, read_sampling


def test_prompt_is_a_clean_line_or_refused():
    assert check_prompt(" a red\tcar\x1b[31m\ud800 ") == "a red car [31m"
    for blank in ("", " \n\t", "\x00\x1b\u200b", None, 7):
        with pytest.raises(InputError, match="prompt: must not be blank"):
            check_prompt(blank)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"sampling": 3}', '{"sampling": {"steps": 3}}', "\ufeffx"])
def test_damaged_settings_are_refused(tmp_path, content):
    (tmp_path / "iedit.json").write_text(content)
    with pytest.raises(InputError, match=r"iedit\.json: ") as error:
        read_sampling(tmp_path)
    assert str(error.value).isprintable()
