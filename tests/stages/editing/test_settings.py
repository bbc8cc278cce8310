"""Prompts and settings from outside are cleaned or refused in one line."""

from pathlib import Path

import pytest

from stages.core.errors import InputError
from stages.core.files import write_json
from stages.core.params import Sampling
from stages.editing.settings import adjust_sampling, check_prompt, check_steps, read_precision, read_sampling

SAMPLING = Sampling(
    solver="ddim", steps=7, strength=0.5, guidance_scale=2.0, mask_threshold=0.1, mask_margin=0.0, mask_draft=False
)


def test_prompt_is_a_clean_line_or_refused():
    assert check_prompt(" a red\tcar\x1b[31m\ud800 ") == "a red car"
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strength": 0.0}, "strength = 0.0: must be a number, above 0 and at most 1"),
        ({"guidance_scale": 1e308}, "guidance_scale = 1e+308: must be a number, at least 1 and at most 100"),
        ({"guidance_scale": float("nan")}, "guidance_scale = nan: must be a finite number"),
        ({"steps": 1000}, "steps = 1000: must be a whole number, above 0 and at most 999"),
        ({"steps": 2.5}, "steps = 2.5: must be a whole number, above 0 and at most 999"),
    ],
)
def test_a_change_out_of_range_names_the_range(change, message):
    with pytest.raises(InputError) as caught:
        adjust_sampling(SAMPLING, **change)
    assert str(caught.value) == message


def test_steps_of_a_request_are_bounded():
    check_steps(10, 10, 100)
    with pytest.raises(InputError, match=r"^11 rows × 10 images × 100 steps = 11,000: allowed in one request are 10,000"):
        check_steps(11, 10, 100)


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
        ('{"sampling": {"steps": 0}}', r"steps = 0: must be a whole number, above 0 and at most 999|strength: is missing"),
    ],
)
def test_refused_settings_are_reported_with_their_file(tmp_path, monkeypatch, content, reason):
    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    if content is not None:
        Path("model/iedit.json").write_text(content)
    with pytest.raises(InputError, match=rf"^model/iedit\.json: ({reason})"):
        read_sampling(Path("model"))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_precision_of_a_model(tmp_path, precision):
    assert read_precision(tmp_path) == "fp32"
    write_json(tmp_path / "iedit.json", {"sampling": {}})
    assert read_precision(tmp_path) == "fp32"
    write_json(tmp_path / "iedit.json", {"sampling": {}, "precision": precision})
    assert read_precision(tmp_path) == precision


@pytest.mark.parametrize(
    ("content", "message"),
    [("[]", "damaged: no JSON object"), ("{", "damaged"), ('{"precision": "fp8"}', "precision = 'fp8': allowed are fp32, ")],
)
def test_a_precision_that_does_not_exist_is_refused(tmp_path, content, message):
    (tmp_path / "iedit.json").write_text(content)
    with pytest.raises(InputError, match=rf"iedit\.json: {message}"):
        read_precision(tmp_path)
