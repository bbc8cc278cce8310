"""Captions as words, signs and compounds."""

import pytest

from stages.language.units import find_units


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("a hot dog on a bus", ["a", "hot dog", "on", "a", "bus"]),
        ("two hot dogs.", ["two", "hot dogs", "."]),
        ("a black cat", ["a", "black", "cat"]),  # an animal that is black, not a marten
        ("a navy blue car", ["a", "navy", "blue", "car"]),
        ("a lame duck", ["a", "lame", "duck"]),  # an animal, not an official
        ("Red-and-white  Bus", ["red-and-white", "bus"]),
    ],
)
def test_compounds_are_one_unit(caption, words):
    units = find_units(caption)
    assert [unit.word for unit in units] == words
    assert [caption[unit.start : unit.end] for unit in units] == [unit.text for unit in units]


@pytest.mark.parametrize(
    ("caption", "stands_free"), [("a dog.", True), ('a "dog"', True), ("dog.jpg", False), ("#dog", False), ("cat/dog", False)]
)
def test_part_of_a_name_or_tag_is_not_free(caption, stands_free):
    (dog,) = [unit for unit in find_units(caption) if unit.word == "dog"]
    assert dog.stands_free == stands_free
