"""Which word may stand in for another: co-hyponyms for nouns, antonyms and other colours for adjectives."""

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache

from nltk.corpus.reader.wordnet import Lemma, Synset

from stages.language.senses import COMMONER, MEANT, PEOPLE, ancestors, lemma_count, thing_senses
from stages.language.wordnet import wordnet

ENOUGH = 3  # words to choose from: with one, every horse would become a zebra, and an editor would learn just that

BROAD = 200  # kinds in WordNet
WIDE = 1000  # the same: all mammals, plants or foods, but not all birds or vehicles

RANKS = ("woody_plant.n.01", "angiosperm.n.01", "spermatophyte.n.01")
"""Botanists' ranks, which are no step either: a rose is no nearer to a tree than to a tulip."""

SAME_KIND = re.compile(r"(an? )?(adult|mature|immature|young|male|female|castrated)\b")
"""How WordNet defines cow, kitten and peacock: their hypernym, in one of its sexes or ages."""

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
"""Two kinds of these have nothing in common that one could see; nor have two kinds of what stands above these."""

IN_WATER = ("fish.n.01", "aquatic_mammal.n.01", "crustacean.n.01", "cephalopod.n.01")
OF_THE_SEA = "marine_animal.n.01"
"""The next step above each of these, past those of WordNet that hold animals of the land as well: to WordNet a whale is a
mammal as a horse is, but nobody takes a horse in a field for a whale. Under this one WordNet itself lists hardly any."""

MASS = frozenset(
    """beer broccoli cabbage cauliflower champagne coffee corn lasagna lettuce pizza salad tea wine
    cello clarinet flute guitar piano saxophone trombone trumpet violin""".split()  # noqa: SIM905 - read as words
)
"""Words that do without an article: "eating pizza" may become "eating salad", but not "eating hamburger"."""

UNCOUNTABLE = frozenset({"broccoli", "champagne", "corn", "lettuce"})
"""Words that go without an article only: there is no "a corn", and there are no "broccolis"."""

RIDDEN = frozenset(
    """camel donkey elephant horse mule pony zebra
    bicycle motorcycle scooter skateboard sled snowboard surfboard tricycle""".split()  # noqa: SIM905 - read as words
)
"""What one can be said to ride: who rides a bicycle down the street does not ride an ambulance."""

CHROMATIC = ("blue", "brown", "green", "orange", "pink", "purple", "red", "yellow")
ACHROMATIC = ("black", "gray", "grey", "white")
"""The basic colour terms of English (Berlin and Kay 1969), the ones that every speaker tells apart."""

VISIBLE_ATTRIBUTES = frozenset(
    """size.n.01 age.n.01 length.n.01 stature.n.02 width.n.01 thickness.n.01 height.n.01 wetness.n.01 cleanness.n.01
    light.n.07 value.n.04 luminosity.n.01 fullness.n.03 shape.n.01 curliness.n.01 body_weight.n.01""".split()  # noqa: SIM905 - read as words
)
"""What a picture shows of a thing, as WordNet links it to its adjectives: "wet" and "dry" can be told apart, "heavy" and
"light", "happy" and "sad" cannot."""

VISIBLE_ADJECTIVES = frozenset(
    """round.a.01 square.a.01 smooth.a.01 rough.a.01 open.a.02 closed.a.01 hairy.a.01 hairless.a.01 patterned.a.01
    plain.a.03""".split()  # noqa: SIM905 - read as words
)
"""The same, where WordNet has no such link."""

OF_LIVING_THINGS = ("young.a.01", "old.a.01")  # an old car is not young again, but new


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Which words an edit may bring in, and how far it may go for them."""

    vocabulary: frozenset[str]  # nothing else is brought in
    levels: int  # hypernyms to go up for co-hyponyms
    adjective_share: float  # of the captions in which an adjective and a noun can change, those where the adjective does


@cache
def co_hyponyms(noun: str, rules: Rules) -> tuple[str, ...]:
    """Return the words that may replace a singular noun, in alphabetical order.

    They are those of the nearest hypernym that has any, and of the next ones until there are :data:`ENOUGH`, within
    ``rules.levels`` and short of a :data:`WIDE` one: a cat becomes another feline or, where the vocabulary has few of
    these, another carnivore. The noun itself must be of the vocabulary too, or a kind of something there: a beagle is
    replaced as a dog is. Of several senses of the noun, the one with the nearest such hypernym counts. What lives in water
    never changes with what lives on land.
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
def is_colour(adjective: str) -> bool:
    """Tell whether an adjective names a colour: a basic one, or what WordNet likens to one first (crimson, golden).

    Not what is a thing besides: a cherry tree and a stone house have no colour in their names.
    """
    if adjective in CHROMATIC + ACHROMATIC:
        return True
    if thing_senses(adjective):
        return False
    sense = next(iter(wordnet().synsets(adjective, "a")), None)
    hues = {wordnet().synset("chromatic.a.03"), wordnet().synset("achromatic.a.01")}
    return sense is not None and not hues.isdisjoint(sense.similar_tos())


def is_size(adjective: str) -> bool:
    """Tell whether an adjective says first of all how large a thing is."""
    sense = next(iter(wordnet().synsets(adjective, "a")), None)
    if sense is None:
        return False
    heads = sense.similar_tos() if sense.pos() == "s" else [sense]
    return any(attribute.name() == "size.n.01" for head in heads for attribute in head.attributes())


@cache
def other_colours(colour: str, rules: Rules) -> tuple[str, ...]:
    """Return the colours that may replace one: a hue becomes another hue, and black, white and grey one another's opposite."""
    others: tuple[str, ...] = ()
    if colour in ACHROMATIC:
        others = {"black": ("white",), "white": ("black",)}.get(colour, ("black", "white"))
    elif colour in CHROMATIC:
        others = tuple(other for other in CHROMATIC if other != colour)
    else:
        sense = wordnet().synsets(colour, "a")[0]
        if wordnet().synset("chromatic.a.03") in sense.similar_tos():
            own = " ".join([*sense.lemma_names(), sense.definition()])  # crimson is red, and would not change much
            others = tuple(other for other in CHROMATIC if other not in own)
    return tuple(other for other in others if _is_allowed(other, rules))


@cache
def antonym(adjective: str, rules: Rules, *, living: bool) -> str | None:
    """Return the opposite of an adjective that can be seen, or nothing.

    The adjective's own antonym comes first (small-large, big-little), then one of a synonym. An adjective without any goes
    by the one that WordNet likens it to (tiny-small-large), if that says how large a thing is or whether it is patterned:
    elsewhere likeness goes too far, from a glazed doughnut to a full one.

    Args:
        adjective: not a colour.
        rules: what may be brought in.
        living: whether it is said of a living thing.
    """
    counts = {sense: 1 + lemma_count(sense, adjective) for sense in wordnet().synsets(adjective, "a")}
    for sense in (sense for sense, count in counts.items() if COMMONER * count >= max(counts.values())):
        heads = filter(_is_for_all_alike, sense.similar_tos()) if sense.pos() == "s" else [sense]
        for head in heads:
            if not _is_visible(head) or (head.name() in OF_LIVING_THINGS and not living):
                continue
            own_first = sorted(head.lemmas(), key=lambda lemma: lemma.name() != adjective)
            for lemma in own_first:
                for other in _opposites(lemma):
                    if other != adjective and _is_allowed(other, rules):
                        return other
    return None


def _opposites(lemma: Lemma) -> list[str]:
    return [other.name() for other in lemma.antonyms()]


def _is_allowed(adjective: str, rules: Rules) -> bool:
    return adjective in rules.vocabulary


def _is_for_all_alike(head: Synset) -> bool:
    return head.name() == "patterned.a.01" or any(attribute.name() == "size.n.01" for attribute in head.attributes())


def _is_visible(sense: Synset) -> bool:
    return sense.name() in VISIBLE_ADJECTIVES or any(attribute.name() in VISIBLE_ATTRIBUTES for attribute in sense.attributes())


@cache
def _main_line(sense: Synset) -> tuple[Synset, ...]:
    """Return the sense and, step by step, what it is a kind of, up to what is too general.

    Where there are several hypernyms the one deepest in the taxonomy is taken: a dog is rather a canine than a domestic
    animal, and what has wheels rather a vehicle than a container. Sex and age are no step (peacock, peafowl), nor is a
    kind named after the next (personal computer, digital computer, computer), unless the next is a broad one.
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
    """Tell whether a name of the sense is a compound with the same head as a name of the hypernym."""
    heads = {name.rsplit("_", 1)[1] for name in sense.lemma_names() if "_" in name}
    return not heads.isdisjoint(name.split("_")[-1] for name in hypernym.lemma_names())


def _known_senses(noun: str, vocabulary: frozenset[str]) -> tuple[Synset, ...]:
    """Return what a noun means if it is of the vocabulary, else the nearest thing there that it is a kind of.

    What is not there must mean a thing first of all, and a compound no person: to WordNet a "bay" is a horse too, an
    "electric" a car, and a "dark horse" somebody.
    """
    senses = thing_senses(noun)
    if noun in vocabulary or not senses:
        return senses
    first = wordnet().synsets(noun.replace(" ", "_"), "n")[0]
    if " " in noun:
        is_clear = noun in MEANT or first.lexname() not in PEOPLE
    else:
        is_clear = senses[0] == first and not _is_rather_adjective(noun)
    if not is_clear:
        return ()
    named = _named(vocabulary)
    kinds = (senses[0], *senses[0].closure(lambda below: below.hypernyms()))  # nearest first
    return tuple(kind for kind in kinds if kind in named)[:1]


@cache
def _named(vocabulary: frozenset[str]) -> frozenset[Synset]:
    return frozenset(sense for word in vocabulary if not _is_rather_adjective(word) for sense in thing_senses(word)[:1])


@cache
def _breadth(sense: Synset) -> int:
    """Return how many kinds of a thing there are; of mammals and garments so many that one does not see them before one."""
    return len(set(sense.closure(lambda above: above.hyponyms())))


def _is_wide(kind: Synset) -> bool:
    return kind.name() == OF_THE_SEA or _breadth(kind) > WIDE


@cache
def _pool(vocabulary: frozenset[str]) -> dict[Synset | None, list[tuple[str, Synset]]]:
    """Return, for every hypernym, the words that may be brought in as a kind of it, each with its sense."""
    pool = defaultdict(list)
    for word in sorted(vocabulary):
        for sense in () if _is_rather_adjective(word) else thing_senses(word):
            for hypernym in _main_line(sense)[1:]:
                pool[hypernym].append((word, sense))
    return dict(pool)


def _is_rather_adjective(word: str) -> bool:
    """Tell whether a word is an adjective before it is a noun: "blacks" are clothes too, and a "short" is a circuit."""
    counts = [lemma_count(sense, word) for sense in wordnet().synsets(word, "a")]
    return word in CHROMATIC + ACHROMATIC or max(counts, default=-1) > max(
        (lemma_count(sense, word) for sense in wordnet().synsets(word, "n")), default=0
    )


def _are_apart(noun: str, sense: Synset, word: str, other: Synset) -> bool:
    """Tell whether two nouns are different things, neither a kind of the other."""
    return word != noun and sense not in ancestors(other) and other not in ancestors(sense)
