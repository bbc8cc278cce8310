"""Prompts and settings from outside are cleaned or refused in one line."""

from pathlib import Path

import pytest

from stages.core.errors import InputError
from stages.core.files import write_json
from stages.core.params import Sampling
from stages.editing.settings import adjust_sampling, check_prompt, read_sampling

SAMPLING = Sampling(
    solver="ddim", steps=7, strength=0.5, guidance_scale=2.0, mask_threshold=0.1, mask_margin=0.0, mask_draft=False
)


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


def test_adjusted_sampling_keeps_all_other_settings():
    assert adjust_sampling(SAMPLING, strength=None, steps=4) == SAMPLING.model_copy(update={"steps": 4})


def test_older_settings_get_what_was_then_fixed(tmp_path):
    sampling = {"steps": 7, "strength": 0.5, "guidance_scale": 2.0, "mask_threshold": 0.1}
    write_json(tmp_path / "iedit.json", {"sampling": sampling})
    assert read_sampling(tmp_path) == SAMPLING


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such file; the folder is not a model"),
        ("{", "damaged: has no sampling"),
        ("[]", "damaged: has no sampling"),
        ("{}", "damaged: has no sampling"),
        ('{"sampling": {"steps": 0}}', r"steps = 0: Input should be greater than 0|strength: is missing"),
    ],
)
def test_refused_settings_are_reported_with_their_file(tmp_path, monkeypatch, content, reason):
    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    if content is not None:
        Path("model/iedit.json").write_text(content)
    with pytest.raises(InputError, match=rf"^model/iedit\.json: ({reason})"):
        read_sampling(Path("model"))
