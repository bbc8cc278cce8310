"""Which adjective may replace another: a colour another colour, a size or state its antonym."""

from functools import cache

from nltk.corpus.reader.wordnet import Lemma, Synset

from stages.language.rules import Rules
from stages.language.senses import DOMINANCE, ancestors, lemma_count, thing_senses
from stages.language.wordnet import wordnet

CHROMATIC = ("blue", "brown", "green", "orange", "pink", "purple", "red", "yellow")
ACHROMATIC = ("black", "gray", "grey", "white")
"""The basic colour terms of English (Berlin and Kay 1969), which every speaker distinguishes."""

COATS = ("black", "brown", "white")
"""Colours of animals: a brown dog does not become a purple one."""

VISIBLE_ATTRIBUTES = frozenset(
    """size.n.01 age.n.01 length.n.01 stature.n.02 width.n.01 thickness.n.01 height.n.01 wetness.n.01 cleanness.n.01
    light.n.07 value.n.04 luminosity.n.01 fullness.n.03 shape.n.01 curliness.n.01 body_weight.n.01""".split()  # noqa: SIM905 - read as words
)
"""Attributes that a picture shows, as WordNet links them to adjectives: one sees whether a thing is wet or dry, but not
whether it is heavy or light, happy or sad."""

VISIBLE_ADJECTIVES = frozenset(
    """round.a.01 square.a.01 smooth.a.01 rough.a.01 open.a.02 closed.a.01 hairy.a.01 hairless.a.01""".split()  # noqa: SIM905
)
"""Visible adjectives that WordNet links to no attribute."""

OF_LIVING_THINGS = ("young.a.01", "old.a.01")  # the opposite of an old car is new, not young
HEIGHT, LENGTH = "short.a.03", "short.a.02"  # the opposite of a short tree is tall, of a short rope long
STANDING_KINDS = ("organism.n.01", "structure.n.01")


def stands_upright(noun: str) -> bool:
    """Return whether a thing is tall or short rather than long or short: a tree, a tower, an animal."""
    senses = thing_senses(noun)
    return bool(senses) and any(kind.name() in STANDING_KINDS for kind in ancestors(senses[0]))


@cache
def is_colour(adjective: str) -> bool:
    """Return whether an adjective names a colour: a basic one, or one that WordNet likens first to one (crimson, golden).

    A word that also names a thing does not count: "cherry tree" and "stone house" name no colour.
    """
    if adjective in CHROMATIC + ACHROMATIC:
        return True
    if thing_senses(adjective):
        return False
    sense = next(iter(wordnet().synsets(adjective, "a")), None)
    hues = {wordnet().synset("chromatic.a.03"), wordnet().synset("achromatic.a.01")}
    return sense is not None and not hues.isdisjoint(sense.similar_tos())


def is_size(adjective: str) -> bool:
    """Return whether an adjective's first sense is the size of a thing."""
    sense = next(iter(wordnet().synsets(adjective, "a")), None)
    if sense is None:
        return False
    heads = sense.similar_tos() if sense.pos() == "s" else [sense]
    return any(_is_about_size(head) for head in heads)


@cache
def other_colours(colour: str, rules: Rules, *, coat: bool = False) -> tuple[str, ...]:
    """Return the colours that may replace one: a hue becomes another hue; black, white and grey become one another.

    Args:
        colour: see :func:`is_colour`.
        rules: their vocabulary limits the new colours.
        coat: whether it is an animal's, which changes to another of :data:`COATS`.
    """
    others: tuple[str, ...] = ()
    if coat:
        others = tuple(other for other in COATS if other != colour and (other != "brown" or colour in ACHROMATIC + CHROMATIC))
    elif colour in ACHROMATIC:
        others = {"black": ("white",), "white": ("black",)}.get(colour, ("black", "white"))
    elif colour in CHROMATIC:
        others = tuple(other for other in CHROMATIC if other != colour)
    else:
        sense = wordnet().synsets(colour, "a")[0]
        if wordnet().synset("chromatic.a.03") in sense.similar_tos():
            own = " ".join([*sense.lemma_names(), sense.definition()])  # crimson is a red, so red would change little
            others = tuple(other for other in CHROMATIC if other not in own)
    return tuple(other for other in others if other in rules.vocabulary)


@cache
def antonym(adjective: str, rules: Rules, *, living: bool, upright: bool = False) -> str | None:
    """Return the opposite of an adjective that a picture can show, or None.

    The adjective's own antonym comes first (small-large, big-little), then that of a synonym. An adjective without either
    takes the antonym of the one that WordNet likens it to (tiny-small-large), but only for size: elsewhere
    likeness goes too far, from a glazed doughnut to a full one.

    Args:
        adjective: not a colour.
        rules: their vocabulary limits the new words.
        living: whether the adjective describes a living thing.
        upright: whether it describes a thing with a height rather than a length.
    """
    counts = {sense: 1 + lemma_count(sense, adjective) for sense in wordnet().synsets(adjective, "a")}
    for sense in (sense for sense, count in counts.items() if DOMINANCE * count >= max(counts.values())):
        heads = filter(_is_about_size, sense.similar_tos()) if sense.pos() == "s" else [sense]
        for head in heads:
            if not _is_visible(head) or (head.name() in OF_LIVING_THINGS and not living):
                continue
            if head.name() == (LENGTH if upright else HEIGHT):
                continue
            own_first = sorted(head.lemmas(), key=lambda lemma: lemma.name() != adjective)
            for lemma in own_first:
                for other in _opposites(lemma):
                    if other != adjective and other in rules.vocabulary:
                        return other
    return None


def _opposites(lemma: Lemma) -> list[str]:
    return [other.name() for other in lemma.antonyms()]


def _is_about_size(sense: Synset) -> bool:
    return any(attribute.name() == "size.n.01" for attribute in sense.attributes())


def _is_visible(sense: Synset) -> bool:
    return sense.name() in VISIBLE_ADJECTIVES or any(attribute.name() in VISIBLE_ATTRIBUTES for attribute in sense.attributes())
