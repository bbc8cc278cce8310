"""Which word may stand in for another: co-hyponyms for nouns, antonyms and other colours for adjectives."""

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache

from nltk.corpus.reader.wordnet import Lemma, Synset

from stages.language.senses import COMMONER, THINGS, ancestors, is_short_form, lemma_count, plural, singular, thing_senses
from stages.language.wordnet import wordnet

BROAD = 200  # kinds in WordNet

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
)
"""Two kinds of these have nothing in common that one could see; nor have two kinds of what stands above these."""

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

RUDE_USAGES = ("ethnic_slur.n.01", "disparagement.n.01", "obscenity.n.02")
RUDE_GLOSS = re.compile(r"\b(offensive|disparag\w+|derogatory|obscene|vulgar|contempt\w*|prostitut\w*|sexual\w*)\b")


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Which words an edit may bring in, and how far it may go for them."""

    vocabulary: frozenset[str] | None  # nothing else is brought in; none: any common word
    min_count: int  # of a noun in WordNet's tagged texts, where there is no vocabulary
    levels: int  # hypernyms to go up for co-hyponyms
    adjective_share: float  # of the captions in which an adjective and a noun can change, those where the adjective does


@cache
def co_hyponyms(noun: str, rules: Rules) -> tuple[str, ...]:
    """Return the words that may replace a singular noun, in alphabetical order.

    Those of the nearest hypernym that has any within ``rules.levels``: a cat becomes another feline before another
    carnivore. Of several senses of the noun, the one with the nearest hypernym counts.
    """
    pool = _pool(rules.vocabulary, rules.min_count)
    lines = {sense: _main_line(sense) for sense in thing_senses(noun)}
    for level in range(1, rules.levels + 1):
        for sense, line in lines.items():
            if level < len(line):
                words = {word for word, other in pool.get(line[level], ()) if _are_apart(noun, sense, word, other)}
                if words:
                    return tuple(sorted(words))
    return ()


@cache
def is_colour(adjective: str) -> bool:
    """Tell whether an adjective names a colour: a basic one, or what WordNet likens to one first (crimson, golden)."""
    if adjective in CHROMATIC + ACHROMATIC:
        return True
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
    others: tuple[str, ...]
    if colour in ACHROMATIC:
        others = {"black": ("white",), "white": ("black",)}.get(colour, ("black", "white"))
    elif colour in CHROMATIC or wordnet().synset("chromatic.a.03") in wordnet().synsets(colour, "a")[0].similar_tos():
        others = tuple(other for other in CHROMATIC if other != colour)
    else:
        return ()
    return tuple(other for other in others if _is_allowed(other, rules))


@cache
def antonym(adjective: str, rules: Rules, *, living: bool) -> str | None:
    """Return the opposite of an adjective that can be seen, or nothing.

    The adjective's own antonym comes first (small-large, big-little), then one of a synonym; an adjective without any
    goes by the one that WordNet likens it to (tiny-small-large).

    Args:
        adjective: not a colour.
        rules: what may be brought in.
        living: whether it is said of a living thing.
    """
    counts = {sense: 1 + lemma_count(sense, adjective) for sense in wordnet().synsets(adjective, "a")}
    for sense in (sense for sense, count in counts.items() if COMMONER * count >= max(counts.values())):
        heads = sense.similar_tos() if sense.pos() == "s" else [sense]
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
    return rules.vocabulary is None or adjective in rules.vocabulary


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
    while above := line[-1].hypernyms():
        deepest = max(above, key=lambda hypernym: (hypernym.max_depth(), hypernym.name()))
        if deepest.name() in TOO_GENERAL:
            break
        if line[-1] is not sense and _is_named_after(line[-1], deepest) and not _is_broad(deepest):
            line.pop()
        if line == [sense] and SAME_KIND.match(sense.definition()):
            line.pop()
        line.append(deepest)
    return tuple(line)


def _is_named_after(sense: Synset, hypernym: Synset) -> bool:
    """Tell whether a name of the sense is a compound with the same head as a name of the hypernym."""
    heads = {name.rsplit("_", 1)[1] for name in sense.lemma_names() if "_" in name}
    return not heads.isdisjoint(name.split("_")[-1] for name in hypernym.lemma_names())


@cache
def _is_broad(sense: Synset) -> bool:
    """Tell whether there are so many kinds of a thing that its name does not say what is to be seen: mammal, garment."""
    return len(set(sense.closure(lambda above: above.hyponyms()))) > BROAD


@cache
def _pool(vocabulary: frozenset[str] | None, min_count: int) -> dict[Synset, list[tuple[str, Synset]]]:
    """Return, for every hypernym, the words that may be brought in as a kind of it, each with its sense."""
    words = vocabulary if vocabulary is not None else _common_words(min_count)
    pool = defaultdict(list)
    for word in sorted(words - set(CHROMATIC + ACHROMATIC)):  # "blacks" are clothes too, and "greens" food
        for sense in thing_senses(word)[: None if vocabulary is not None else 1]:
            for hypernym in _main_line(sense)[1:]:
                pool[hypernym].append((word, sense))
    return dict(pool)


def _are_apart(noun: str, sense: Synset, word: str, other: Synset) -> bool:
    """Tell whether two nouns are different things, neither a kind of the other."""
    return word != noun and sense not in ancestors(other) and other not in ancestors(sense)


def _common_words(min_count: int) -> frozenset[str]:
    """Return the nouns for things, single lower-case words, that WordNet's tagged texts have ``min_count`` times."""
    dictionary = wordnet()
    names = {name for name in dictionary.all_lemma_names("n") if re.fullmatch(r"[a-z]{3,}", name)}
    if min_count > 0:
        with dictionary.open("cntlist.rev") as lines:  # "lemma%part:topic:id:: sense count"
            names &= {line.split("%")[0] for line in lines if "%1:" in line and int(line.split()[2]) >= min_count}
    return frozenset(name for name in names if _is_common(name, min_count))


def _is_common(word: str, min_count: int) -> bool:
    """Tell whether a word is decent, has a plural, and is mostly said of the one thing that it names."""
    senses = thing_senses(word)
    if not senses or is_short_form(senses[0], word) or singular(plural(word)) != (word, True):
        return False
    count = lemma_count(senses[0], word)
    if count < min_count or _is_broad(senses[0]):
        return False
    everything = wordnet().synsets(word)
    if senses[0] != next(sense for sense in everything if sense.lexname() in THINGS):
        return False
    other_parts = max((lemma_count(sense, word) for sense in everything if sense.pos() != "n"), default=0)
    return other_parts <= COMMONER * (count + 1) and not any(_is_rude(sense) for sense in everything)


def _is_rude(sense: Synset) -> bool:
    usages = {usage.name() for usage in sense.usage_domains()}
    usages |= {usage.name() for lemma in sense.lemmas() for usage in lemma.usage_domains()}
    return not usages.isdisjoint(RUDE_USAGES) or RUDE_GLOSS.search(sense.definition()) is not None
