"""YAML is read as its standard 1.2 says, and as DVC reads it."""

import pytest
from dvc.utils.serialize import load_yaml

from stages.core.errors import InputError
from stages.core.yaml_file import read_yaml

CORE_SCHEMA = {  # https://yaml.org/spec/1.2.2/#103-core-schema
    "1e-4": 0.0001,
    "1E5": 100000.0,
    "1.5e3": 1500.0,
    ".5": 0.5,
    "1.": 1.0,
    "010": 10,
    "-010": -10,
    "08": 8,
    "0o10": 8,
    "0x10": 16,
    "+5": 5,
    "yes": "yes",
    "No": "No",
    "on": "on",
    "off": "off",
    "y": "y",
    "TRUE": True,
    "false": False,
    "~": None,
    "Null": None,
    "1:30": "1:30",
    "12:30:45": "12:30:45",
    '"010"': "010",
    ".inf": float("inf"),
}


@pytest.mark.parametrize("word", CORE_SCHEMA)
def test_words_are_read_as_the_standard_says(tmp_path, word):
    path = tmp_path / "a.yaml"
    path.write_text(f"key: {word}\n")
    found = read_yaml(path)["key"]
    assert (found, type(found)) == (CORE_SCHEMA[word], type(CORE_SCHEMA[word]))


@pytest.mark.parametrize("word", [*CORE_SCHEMA, "1_000", "0_1", "0b11", "2001-01-01", "1e", "[1e-4, yes]", "{yes: 010}"])
def test_words_are_read_as_by_dvc(tmp_path, word):
    path = tmp_path / "a.yaml"
    path.write_text(f"key: {word}\n")
    assert repr(read_yaml(path)) == repr(load_yaml(path))


def test_anchors_and_merged_keys_are_read(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n3: c\n")
    assert read_yaml(path) == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, 3: "c"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a: [", "line 2: "),
        (b"a: 1\nb:\n  c: 2\n  'c': 3\n", 'line 4: found duplicate key "c"'),
        (b"a: {b: 1, b: 2}", 'line 1: found duplicate key "b"'),
        (b"a: !!python/tuple [1]", "line 1: "),
        (b"a: !!int ''", ""),
        (b"a: 2001-99-99", "month must be in 1..12"),
        (b"a: \x1b[31m", ""),
        (b"\xff\xfe\x00", ""),
        (b"a: 1\n---\nb: 2\n", "line 2: "),
        (b"[" * 3000, ""),
    ],
)
def test_what_is_no_yaml_is_one_line(tmp_path, content, reason):
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_yaml(path)
    assert str(error.value).startswith(f"{path}: not YAML: {reason}")
    assert str(error.value).isprintable()


def test_an_empty_file_is_none(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("# nothing\n")
    assert read_yaml(path) is None


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.yaml: No such file or directory$"):
        read_yaml(tmp_path / "nowhere.yaml")
