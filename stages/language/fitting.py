"""Which things of families.txt may take a noun's place: those of the family that fits there, where nothing else binds it."""

from collections.abc import Set as AbstractSet

from stages.language.adjectives import ACHROMATIC, is_colour, is_size
from stages.language.clashes import clashes
from stages.language.contexts import (
    ANIMALS,
    ANYWHERE,
    BINDING_ADJECTIVES,
    COATS_OF_PETS,
    COMPLETED,
    COMPLETED_BY,
    NEVER_BRIGHT,
    OBJECTS,
    OF_ONE_COLOUR,
    POSTURES,
    ROOMS,
    SUBJECT,
    SUBJECTS,
    UNFIT,
    word_set,
)
from stages.language.families import families
from stages.language.nouns import kin, listed_name
from stages.language.phrases import CaptionNoun
from stages.language.ties import is_tied

IN_A_ROOM = SUBJECT | frozenset(["with", "have", "next to", "near", "beside"])
PLACED = word_set(
    "lying perch parked drinking_vessel desk_surface field_game court_game slope way room transport day weather wave_rider"
)
"""Families that count only behind their own words: "on a branch"."""


def replacements(noun: CaptionNoun, present: AbstractSet[str]) -> tuple[str, ...]:
    """Return the words that may stand in a noun's place, in alphabetical order.

    Args:
        noun: a noun of a caption that stands behind no measure, such as "slice of".
        present: the other words of the caption, with the singulars of its nouns and the base forms of its verbs.
    """
    name = listed_name(noun.name)
    if name is None or not noun.adjectives.isdisjoint(BINDING_ADJECTIVES):
        return ()
    for family in families().of[name]:
        if (family.beside and family.beside.isdisjoint(present)) or not _stands_there(noun, family.name):
            continue
        if _is_bound(noun, family.name) or is_tied(name, family.name, present):
            return ()
        return tuple(word for word in kin(noun.name, family) if _fits(word, noun, present))
    return ()


def _stands_there(noun: CaptionNoun, family: str) -> bool:
    """Return whether things of the family may stand behind the word before a noun."""
    if family in ROOMS:
        is_plain = all(word in ACHROMATIC or is_size(word) for word in noun.adjectives)
        return is_plain and not noun.is_plural and noun.before in IN_A_ROOM
    return family in OBJECTS.get(noun.before, ()) or (family not in PLACED and noun.before in ANYWHERE)


def _is_bound(noun: CaptionNoun, family: str) -> bool:
    """Return whether the words behind a noun or its colour say what other things of the family do not do, hold or have."""
    if family in ANIMALS and not frozenset(filter(is_colour, noun.adjectives)) <= COATS_OF_PETS:
        return True
    is_subject = noun.before in SUBJECT
    if noun.behind in COMPLETED_BY and family not in COMPLETED and (is_subject or noun.behind != "with"):
        return True
    return is_subject and noun.does not in POSTURES | {""} and family not in SUBJECTS.get(noun.does, ())


def _fits(word: str, noun: CaptionNoun, present: AbstractSet[str]) -> bool:
    """Return whether a word of the family goes with the other words of the caption."""
    if word in UNFIT.get(noun.before, ()) or clashes(word, present):
        return False
    colours = frozenset(filter(is_colour, noun.adjectives))
    return not (colours and word in OF_ONE_COLOUR) and (colours <= COATS_OF_PETS or word not in NEVER_BRIGHT)
