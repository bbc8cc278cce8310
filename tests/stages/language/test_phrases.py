"""Nouns and adjectives that may change."""

import pytest

from stages.language.phrases import find_adjectives, find_nouns, noun_phrase
from stages.language.units import find_units


def found(caption: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the nouns, each with its traits, and the adjectives, each with the phrase of its noun."""
    units = find_units(caption)
    nouns = find_nouns(units)
    traits = ("is_plural", "is_bare", "is_modified", "is_ridden")
    named = {noun.name: " ".join(trait for trait in traits if getattr(noun, trait)) for noun in nouns.values()}
    return named, {units[place].word: noun_phrase(units, head) for place, head in find_adjectives(units, nouns).items()}


@pytest.mark.parametrize(
    ("caption", "nouns", "adjectives"),
    [
        ("a red car and two buses", {"car": "", "bus": "is_plural"}, {"red": "car"}),
        ("a man riding a horse", {"horse": "is_ridden"}, {}),
        ("a man eating pizza", {"pizza": "is_bare"}, {}),
        ("a slice of pizza", {}, {}),
        ("a cat next to a cat", {}, {}),
        ("a small brick house", {"house": "is_modified"}, {"small": "brick house"}),
        ("a blue and orange bus", {"bus": ""}, {}),
        ("a light blue car", {"car": ""}, {}),
    ],
)
def test_what_may_change(caption, nouns, adjectives):
    assert found(caption) == (nouns, adjectives)
