"""Whatever is wrong in params.yaml is one line that names the key, its value and what is allowed."""

import json
import re
from copy import deepcopy
from pathlib import Path

import pytest
from dvc.utils.serialize import load_yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.params import Params
from stages.core.params_file import ParameterError, read_params
from tests.support import ROOT
from tests.support.composed import composed

WHOLE = composed()
ALL_LOSSES = composed("ablation=paper")


def read(folder: Path, params: object) -> Params:
    path = folder / "params.yaml"
    text = json.dumps(params)  # valid YAML but for its pairs of surrogates, and quicker to write
    path.write_text(re.sub(r"\\u(d[89ab]\w\w)\\u(d[c-f]\w\w)", _one_character, text))
    return read_params(path)


def _one_character(pair: re.Match[str]) -> str:
    character = json.loads('"' + pair[0] + '"')
    return f"\\U{ord(character):08x}"


def section_of(params: dict, key: str) -> tuple[dict, str]:
    """The section that holds a dotted key, and the key's name in it."""
    *sections, name = key.split(".")
    for part in sections:
        params = params[part]
    return params, name


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.stepz", 3, "train.stepz = 3: no such key; there are base, clip, vgg, "),
        ("gate", {}, "gate = {}: no such key; there are seed, threads, "),
        ("a\nb\x1b[2J", 1, "'a\\nb\\x1b[2J' = 1: no such key; "),
        ("ingest.source.path", "a", "ingest.source.path = 'a': no such key; there are kind, images, cases"),
        ("ingest.source.images", 0, "ingest.source.images = 0: must be a whole number, above 0"),
        ("ingest.source.kind", "zip", "ingest.source.kind = 'zip': allowed are 'openmoji', 'folder', 'webdataset'"),
        ("train.steps", 0, "train.steps = 0: must be a whole number, above 0"),
        ("train.steps", "400", "train.steps = '400': must be a whole number, above 0"),
        ("train.steps", True, "train.steps = True: must be a whole number, above 0"),
        ("train.steps", None, "train.steps = None: must be a whole number, above 0"),
        ("train.learning_rate", "NaN", "train.learning_rate = 'NaN': must be a number, above 0"),
        ("train.losses.noise", "both", "train.losses.noise = 'both': must be 'ldm', 'paired', 'mask' or 'guided'"),
        ("train.losses.perceptual_layers", [3, 4], "train.losses.perceptual_layers.1 = 4: must be 1, 3, 6, "),
        ("train.losses.perceptual_layers", [], "train.losses.perceptual_layers = []: with perceptual: true at least one"),
        ("sampling.strength", 0.0, "sampling.strength = 0.0: must be a number, above 0 and at most 1"),
        ("sampling.strength", 0.03, "sampling.strength = 0.03: with steps = 12 no step is left"),
        ("segment.threshold", 1.5, "segment.threshold = 1.5: must be a number, at least 0 and at most 1"),
        ("segment.max_area", 0.001, "segment.max_area = 0.001: must not be below min_area = 0.01"),
        ("drift.min_nights", 15, "drift.min_nights = 15: must not be above nights = 14"),
        ("ingest.size", 65, "ingest.size = 65: must be a whole number, at least 16 and at most 2,048 and a multiple of 8"),
        ("evaluate.cases", "", "evaluate.cases = '': must not be empty"),
        ("evaluate.cases", "data/heldout", "retrieve.held_out = 0.0: must be above 0, because evaluate.cases = 'data/heldout'"),
        (
            "caption.model",
            "nano/models/captioner",
            "caption.model = 'nano/models/captioner': must be a section with the keys name, revision",
        ),
        ("train", 3, "train = 3: must be a section with the keys base, clip, "),
        ("evaluate.gate", None, "evaluate.gate = None: must be a section with the keys ssim_m_bar_tolerance"),
        ("ingest.source", "folder", "ingest.source = 'folder': must be a section of keys with values"),
        ("seed", "x" * 1000, f"seed = '{'x' * 99}…: must be a whole number, at least 0"),
        ("threads", 10**6, "threads = 1000000: must be a whole number, above 0 and at most 1,024"),
    ],
)
def test_wrong_value_is_one_line_that_names_it(tmp_path, key, value, message):
    params = deepcopy(ALL_LOSSES)
    section, name = section_of(params, key)
    section[name] = value
    with pytest.raises(ParameterError) as error:
        read(tmp_path, params)
    assert str(error.value).startswith(f"{tmp_path / 'params.yaml'}: {message}")
    assert str(error.value).isprintable()


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf"])
def test_non_finite_number_is_reported(tmp_path, number):
    text = (ROOT / "params.yaml").read_text()
    path = tmp_path / "params.yaml"
    path.write_text(text.replace("ssim_m_bar_tolerance: 1.0", f"ssim_m_bar_tolerance: {number}"))
    with pytest.raises(ParameterError, match=r"evaluate\.gate\.ssim_m_bar_tolerance = .*: must be a finite number"):
        read_params(path)


@pytest.mark.parametrize("key", ["train.steps", "ingest.source.images", "ingest.source.kind", "seed", "evaluate"])
def test_missing_key_is_named(tmp_path, key):
    params = deepcopy(WHOLE)
    section, name = section_of(params, key)
    del section[name]
    with pytest.raises(ParameterError, match=rf"params\.yaml: {key}: is missing$"):
        read(tmp_path, params)


@pytest.mark.parametrize("content", [b"", b"- 1", b"a: [", b"\xff\xfe\x00", b"seed: 2001-99-99", b"3", b"[" * 600])
def test_other_content_is_reported_in_one_line(tmp_path, content):
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(ParameterError, match=r"not YAML|must hold the sections") as error:
        read_params(path)
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed: 0\n", "seed: 0\nseed: 0\n", 'line 2: found duplicate key "seed"'),
        ("  levels: 4\n", "  levels: 4\n  'levels': 3\n", 'line 33: found duplicate key "levels"'),
        ("seed: 0\n", "seed: {a: 1, a: 2}\n", 'line 1: found duplicate key "a"'),
    ],
)
def test_key_given_twice_is_reported(tmp_path, old, new, message):
    text = (ROOT / "params.yaml").read_text()
    assert old in text
    path = tmp_path / "params.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ParameterError) as error:
        read_params(path)
    assert message in str(error.value)
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("old", "new", "key", "value"),
    [
        ("learning_rate: 0.0002", "learning_rate: 1e-4", "train.learning_rate", 0.0001),
        ("steps: 400", "steps: 010", "train.steps", 10),
        ("steps: 400", "steps: 0o10", "train.steps", 8),
        ("steps: 400", "steps: 1_000", "train.steps", 1000),
        ("precision: 'no'", "precision: no", "train.precision", "no"),
    ],
)
def test_numbers_and_words_are_those_that_dvc_records(tmp_path, old, new, key, value):
    text = (ROOT / "params.yaml").read_text()
    assert old in text
    path = tmp_path / "params.yaml"
    path.write_text(text.replace(old, new, 1))
    section, name = section_of(read_params(path).model_dump(), key)
    recorded, _ = section_of(load_yaml(path), key)
    assert section[name] == recorded[name] == value


@pytest.mark.parametrize("word", ["yes", "on", "No"])
def test_a_word_is_no_truth_value(tmp_path, word):
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text().replace("text_gain: true", f"text_gain: {word}"))
    with pytest.raises(ParameterError, match=rf"retrieve\.text_gain = '{word}': must be true or false$"):
        read_params(path)


def test_missing_file_is_reported(tmp_path):
    with pytest.raises(ParameterError, match=r"nowhere\.yaml: no such file; run from the folder of the project$"):
        read_params(tmp_path / "nowhere.yaml")


def leaves(section: dict, prefix: str = "") -> list[str]:
    """Every key of params.yaml, sections too."""
    keys = []
    for name, value in section.items():
        keys += [prefix + name, *(leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else [])]
    return keys


NUMBERS = st.integers(-(10**30), 10**30) | st.integers(-2, 70) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=20) | st.just("two\nlines\x1b[2J"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(key=st.sampled_from(leaves(WHOLE)), change=st.sampled_from(["value", "value", "name", "gone"]), data=st.data())
def test_any_single_change_is_valid_or_named_in_one_line(tmp_path_factory, key, change, data):
    params = deepcopy(WHOLE)
    section, name = section_of(params, key)
    names = {name}
    if change == "value":
        section[name] = data.draw(VALUES)
    else:
        value = section.pop(name)
        if change == "name":
            new = data.draw(st.text(max_size=8) | st.just(name + "s"))
            section[new] = value
            names |= {new, repr(new)}
    try:
        assert isinstance(read(tmp_path_factory.getbasetemp(), params), Params)
    except ParameterError as error:
        message = str(error)
        assert message.isprintable()
        assert any(word and word in message for word in names)
