"""Families of things that may stand in one another's place in a photograph: the words of families.txt.

WordNet's hypernyms say what a thing is, not where it stands: to WordNet a toilet has no more to do with a bathtub than with a
lens. So which words replace one another is a list of ours, and WordNet says which other words are kinds of those in it.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FAMILIES = Path(__file__).with_name("families.txt")
PEOPLE = ("trade", "player")  # the families of people


@dataclass(frozen=True, kw_only=True)
class Family:
    """A line of families.txt."""

    name: str
    beside: frozenset[str]  # it counts in captions that have one of these words; empty: in all
    groups: tuple[frozenset[str], ...]  # words of one group are too alike to replace one another
    brought_in: frozenset[str]

    def others(self, word: str) -> frozenset[str]:
        """Return the words that may stand in the place of a word of this family."""
        alike = next(group for group in self.groups if word in group)
        return self.brought_in - alike


@dataclass(frozen=True, kw_only=True)
class Families:
    """The words of families.txt."""

    of: Mapping[str, tuple[Family, ...]]  # every word → its families, in the order of the file
    brought_in: frozenset[str]
    people: frozenset[str]  # by their trade or game


@cache
def families() -> Families:
    """Return the families of families.txt."""
    of = defaultdict[str, list[Family]](list)
    for line in FAMILIES.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            family = _family(line)
            for word in frozenset[str]().union(*family.groups):
                of[word].append(family)
    return Families(
        of={word: tuple(found) for word, found in of.items()},
        brought_in=frozenset(word for found in of.values() for family in found for word in family.brought_in),
        people=frozenset(word for word, found in of.items() if any(family.name in PEOPLE for family in found)),
    )


def is_listed(word: str) -> bool:
    """Return whether a singular noun, or a compound with spaces, stands in families.txt."""
    return word in families().of


def is_in_family(word: str, name: str) -> bool:
    """Return whether a singular noun stands in the family of this name."""
    return any(family.name == name for family in families().of.get(word, ()))


def _family(line: str) -> Family:
    head, _, words = line.partition(": ")
    name, _, beside = head.rstrip("]").partition(" [")
    groups = [group.split("/") for group in words.split(", ")]
    return Family(
        name=name,
        beside=frozenset(beside.split(", ")) - {""},
        groups=tuple(frozenset(word.removeprefix("-") for word in group) for group in groups),
        brought_in=frozenset(word for group in groups for word in group if not word.startswith("-")),
    )
