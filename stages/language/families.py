"""Families of things that may stand in one another's place in a photograph: the words of families.txt.

WordNet's hypernyms say what a thing is, not where it stands: to WordNet a toilet has no more to do with a bathtub than with a
lens. So which words replace one another is a list of ours, and WordNet says which other words are kinds of those in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FAMILIES = Path(__file__).with_name("families.txt")
PEOPLE = ("trade", "player")  # the families of people


@dataclass(frozen=True, kw_only=True)
class Families:
    """The words of families.txt."""

    replaced_by: Mapping[str, tuple[str, ...]]  # every word → those that may stand in its place, itself among them
    brought_in: frozenset[str]
    people: frozenset[str]  # by their trade or game


@cache
def families() -> Families:
    """Return the families; a word that stands in several is replaced by the words of the first."""
    replaced_by: dict[str, tuple[str, ...]] = {}
    brought_in, people = set[str](), set[str]()
    for line in FAMILIES.read_text(encoding="utf-8").splitlines():
        name, colon, words = line.partition(": ")
        if line.startswith("#") or not colon:
            continue
        members = words.split(", ")
        common = tuple(word for word in members if not word.startswith("-"))
        brought_in.update(common)
        for word in members:
            replaced_by.setdefault(word.removeprefix("-"), common)
        if name in PEOPLE:
            people.update(word.removeprefix("-") for word in members)
    return Families(replaced_by=replaced_by, brought_in=frozenset(brought_in), people=frozenset(people))


def is_listed(word: str) -> bool:
    """Return whether a singular noun, or a compound with spaces, stands in families.txt."""
    return word in families().replaced_by
