"""Which noun may replace another: its co-hyponyms in WordNet, such as another feline for a cat, or those of its family."""

import re
from collections import defaultdict
from functools import cache

from nltk.corpus.reader.wordnet import Synset

from stages.language.adjectives import ACHROMATIC, CHROMATIC
from stages.language.families import Family, families, is_listed
from stages.language.rules import Rules
from stages.language.senses import PEOPLE_TOPICS, PREFERRED_SENSES, ancestors, lemma_count, thing_senses
from stages.language.wordnet import wordnet

ENOUGH = 3  # words to choose from: with one, every horse would become a zebra, and an editor would learn just that

BROAD = 200  # kinds in WordNet, above which a hypernym is a step of its own
WIDE = 1000  # kinds in WordNet, above which a hypernym is too wide: all mammals, plants or foods, but not all birds or vehicles

RANKS = ("woody_plant.n.01", "angiosperm.n.01", "spermatophyte.n.01")
"""Botanical ranks, which do not count as a step: a rose is no closer to a tree than to a tulip."""

SAME_KIND = re.compile(r"(an? )?(adult|mature|immature|young|male|female|castrated)\b")
"""How WordNet defines cow, kitten and peacock: as their hypernym, of one sex or age."""

TOO_GENERAL = (
    "instrumentality.n.03",
    "artifact.n.01",
    "creation.n.02",
    "organism.n.01",
    "substance.n.07",
    "matter.n.03",
    "object.n.01",
    "whole.n.02",
    "device.n.01",
    "consumer_goods.n.01",
    "covering.n.02",
    "furnishing.n.02",
    "vertebrate.n.01",
    "invertebrate.n.01",
    "animal.n.01",
    "facility.n.01",
    "implement.n.01",
    "plant_organ.n.01",
)
"""Hypernyms whose kinds have nothing visible in common; nor have the kinds of anything above these."""

IN_WATER = ("fish.n.01", "aquatic_mammal.n.01", "crustacean.n.01", "cephalopod.n.01")
OF_THE_SEA = "marine_animal.n.01"
"""The next step above each of IN_WATER, in place of WordNet's own, which hold land animals too: to WordNet a whale is a
mammal like a horse, but nobody takes a horse in a field for a whale. WordNet itself lists hardly any kind under this one."""


@cache
def listed_name(noun: str) -> str | None:
    """Return the word of families.txt by which a singular noun is replaced, or None.

    It is the noun itself or, if that is not listed, the nearest listed thing that it is a kind of: a gazebo is replaced as a
    building. An unlisted noun has to have one meaning: a crane may also be a machine, and chess a grass.
    """
    if is_listed(noun):
        return noun
    if len(wordnet().synsets(noun.replace(" ", "_"), "n")) != 1:
        return None
    listed = frozenset(families().of)
    senses = _known_senses(noun, listed)
    return _names(listed)[senses[0]] if senses else None


@cache
def kin(noun: str, family: Family) -> tuple[str, ...]:
    """Return the words of a family that may replace a singular noun, in alphabetical order.

    A word that is a kind of the noun, or that the noun is a kind of, does not replace it: its name says so (sailboat, boat)
    or, unless the family brings in the noun too, WordNet does.

    Args:
        noun: see :func:`listed_name`.
        family: one that has its listed name.
    """
    name = listed_name(noun)
    found = family.others(name) if name else frozenset()
    senses = () if noun in family.brought_in else thing_senses(noun)
    others = (word for word in found if not (word.endswith(noun) or noun.endswith(word) or noun.startswith(word)))
    return tuple(sorted(word for word in others if _are_unrelated(senses, thing_senses(word))))


@cache
def co_hyponyms(noun: str, rules: Rules) -> tuple[str, ...]:
    """Return the words that may replace a singular noun, in alphabetical order.

    They are kinds of the noun's nearest hypernym that has any in the vocabulary, and of the next hypernyms until there
    are :data:`ENOUGH`, within ``rules.levels`` and short of a :data:`WIDE` one: a cat becomes another feline or, if the
    vocabulary has few felines, another carnivore. The noun itself must be in the vocabulary too, or a kind of something
    in it: a beagle is replaced as a dog is. If the noun has several senses, the one with the nearest such hypernym
    counts. Animals that live in water and animals that live on land never replace each other.
    """
    pool = _pool(rules.vocabulary)
    lines = {sense: _main_line(sense) for sense in _known_senses(noun, rules.vocabulary)}
    found: dict[str, Synset] = {}
    for level in range(1, rules.levels + 1):
        for sense, line in lines.items():
            above = line[level] if level < len(line) else None
            if found and above is not None and _is_wide(above):
                return tuple(sorted(found))
            if words := {word: other for word, other in pool.get(above, ()) if _are_apart(noun, sense, word, other)}:
                found = words
                lines = {sense: line}
                break
        if len(found) >= ENOUGH:
            break
    return tuple(sorted(found))


@cache
def _main_line(sense: Synset) -> tuple[Synset, ...]:
    """Return the sense and its hypernyms, step by step, below the first one that is too general.

    Of several hypernyms the one deepest in the taxonomy counts: a dog is a canine rather than a domestic animal, and a
    wheeled vehicle a vehicle rather than a container. Sex and age do not count (peacock, peafowl), nor does a kind named
    after the next one (personal computer, digital computer, computer), unless the next one is broad.
    """
    line = [sense]
    while above := _kinds_above(line[-1]):
        deepest = max(above, key=lambda hypernym: (hypernym.max_depth(), hypernym.name()))
        if deepest.name() in TOO_GENERAL:
            break
        if line[-1] is not sense and _is_named_after(line[-1], deepest) and _breadth(deepest) <= BROAD:
            line.pop()
        if line == [sense] and SAME_KIND.match(sense.definition()) and deepest.name() != "young.n.01":
            line.pop()
        line.append(deepest)
    return tuple(kind for kind in line if kind.name() not in RANKS)


def _kinds_above(kind: Synset) -> list[Synset]:
    return [wordnet().synset(OF_THE_SEA)] if kind.name() in IN_WATER else list(kind.hypernyms())


def _is_named_after(sense: Synset, hypernym: Synset) -> bool:
    """Return whether a name of the sense is a compound with the same head as a name of the hypernym."""
    heads = {name.rsplit("_", 1)[1] for name in sense.lemma_names() if "_" in name}
    return not heads.isdisjoint(name.split("_")[-1] for name in hypernym.lemma_names())


def _known_senses(noun: str, vocabulary: frozenset[str]) -> tuple[Synset, ...]:
    """Return a noun's senses or, for a noun outside the vocabulary, the nearest thing inside that it is a kind of.

    The first sense of a noun outside the vocabulary must be a thing, and that of a compound not a person: in WordNet a "bay"
    is also a horse, an "electric" also a car, and a "dark horse" a person.
    """
    senses = thing_senses(noun)
    if noun in vocabulary or not senses:
        return senses
    first = wordnet().synsets(noun.replace(" ", "_"), "n")[0]
    if " " in noun:
        is_clear = noun in PREFERRED_SENSES or first.lexname() not in PEOPLE_TOPICS
    else:
        is_clear = senses[0] == first and not _is_rather_adjective(noun)
    if not is_clear:
        return ()
    named = _names(vocabulary)
    kinds = (senses[0], *senses[0].closure(lambda below: below.hypernyms()))  # nearest first
    return tuple(kind for kind in kinds if kind in named)[:1]


@cache
def _names(vocabulary: frozenset[str]) -> dict[Synset, str]:
    """Return what the words of a vocabulary mean, each with the first of its names."""
    words = (word for word in sorted(vocabulary, reverse=True) if not _is_rather_adjective(word))
    return {sense: word for word in words for sense in thing_senses(word)[:1]}


@cache
def _breadth(sense: Synset) -> int:
    """Return how many kinds of a thing WordNet has; with as many as mammals or garments, the word brings no picture to mind."""
    return len(set(sense.closure(lambda above: above.hyponyms())))


def _is_wide(kind: Synset) -> bool:
    return kind.name() == OF_THE_SEA or _breadth(kind) > WIDE


@cache
def _pool(vocabulary: frozenset[str]) -> dict[Synset | None, list[tuple[str, Synset]]]:
    """Return hypernym → the words of the vocabulary that are a kind of it, each with its sense."""
    pool = defaultdict(list)
    for word in sorted(vocabulary):
        for sense in () if _is_rather_adjective(word) else thing_senses(word):
            for hypernym in _main_line(sense)[1:]:
                pool[hypernym].append((word, sense))
    return dict(pool)


def _is_rather_adjective(word: str) -> bool:
    """Return whether a word is an adjective more often than a noun: "blacks" are also clothes, and a "short" a circuit."""
    counts = [lemma_count(sense, word) for sense in wordnet().synsets(word, "a")]
    return word in CHROMATIC + ACHROMATIC or max(counts, default=-1) > max(
        (lemma_count(sense, word) for sense in wordnet().synsets(word, "n")), default=0
    )


def _are_unrelated(senses: tuple[Synset, ...], others: tuple[Synset, ...]) -> bool:
    """Return whether no sense of a word is a kind of another word's first sense, or the other way round."""
    return not others or all(sense not in ancestors(others[0]) and others[0] not in ancestors(sense) for sense in senses)


def _are_apart(noun: str, sense: Synset, word: str, other: Synset) -> bool:
    """Return whether two nouns are different things, neither a kind of the other."""
    return word != noun and sense not in ancestors(other) and other not in ancestors(sense)
