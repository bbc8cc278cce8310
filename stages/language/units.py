"""The words and signs of a caption, with compounds in one piece and a tag for each.

The tags are those of the Penn Treebank, by the tagger of Pattern (De Smedt and Daelemans 2012) that TextBlob ships. It
tags a word by its most common use, so readers check the tag against WordNet and the words around.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from textblob.taggers import PatternTagger

from stages.language.adjectives import ACHROMATIC, CHROMATIC, is_colour, is_size
from stages.language.families import is_listed
from stages.language.senses import ancestors, is_noun, singular, thing_senses
from stages.language.wordnet import wordnet

TOKEN = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|\d[\d.,]*|\S")
BEFORE = re.compile(r"(?:^|\s)[\"'“‘(\[]*$")
AFTER = re.compile(r"[\"'”’)\].,:;!?…]*(?:\s|$)")
LONGEST_COMPOUND = 4  # words

STOP_WORDS = frozenset(
    """a an the this that these those each every either neither some any no such same other another more most much many
    few several all both half one two three four five six seven eight nine ten eleven twelve hundred thousand i you
    he she it we they me him her us them my your his its our their who whom whose which what where when how there
    here am is are was were be been being do does did has have had can could will would shall should may might must
    not and or but if as at by for from in into like near of off on onto out over than then through to under up upon
    via with within without next front back top bottom side middle left right first last single double various
    different ready full background foreground wallpaper view close closeup close-up stock photo picture image art
    vector clipart illustration icon logo design style sale shot thing stuff piece pair dozen set lot bunch group part
    item object kind type color colour""".split()  # noqa: SIM905 - a list of words reads best as words
)
"""Words that an edit never changes: grammar, amounts, places in the picture, and words about the picture itself."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A word or sign of a caption, or a compound that WordNet or families.txt knows (hot dog, stop sign)."""

    start: int  # in the caption
    end: int
    text: str
    tag: str  # Penn Treebank
    stands_free: bool  # between spaces, give or take punctuation: not the "dog" of dog.jpg, #dog or cat/dog

    @property
    def word(self) -> str:
        """The unit in lower case."""
        return " ".join(self.text.lower().split())

    @property
    def is_noun(self) -> bool:
        """Whether it is tagged as a common noun."""
        return self.tag in ("NN", "NNS") and self.word not in STOP_WORDS and self.word[0].isalpha()

    @property
    def verb(self) -> str:
        """The base form of a verb, or an empty string; the tagger takes "reading" and "drinking" for nouns."""
        may_be = self.tag.startswith("VB") or self.word.endswith("ing")
        return (wordnet().morphy(self.word, "v") or "") if may_be else ""

    @property
    def is_adjective(self) -> bool:
        """Whether it is an adjective by its tag, or a colour, which the tagger does not always know."""
        is_tagged = self.tag.startswith("JJ") and self.word[0].isalpha()
        return (is_tagged or self.word in CHROMATIC + ACHROMATIC) and self.word not in STOP_WORDS


def find_units(caption: str) -> list[Unit]:
    """Return the units of a caption in order."""
    matches = list(TOKEN.finditer(caption))
    words = [match.group() for match in matches]
    tags = [tag for _, tag in _tagger().tag(" ".join(words), tokenize=False)]
    units = []
    place = 0
    while place < len(words):
        last = place + _compound_length(words[place : place + LONGEST_COMPOUND]) - 1
        start, end = matches[place].start(), matches[last].end()
        # A compound has the tag of its last word; it is a noun even if the tagger sees a verb in that word.
        tag = tags[last] if last == place or tags[last].startswith("NN") else "NN"
        stands_free = BEFORE.search(caption[:start]) is not None and AFTER.match(caption[end:]) is not None
        units.append(Unit(start=start, end=end, text=caption[start:end], tag=tag, stands_free=stands_free))
        place = last + 1
    return units


def _compound_length(words: Sequence[str]) -> int:
    """Return how many of the first ``words`` form one noun: 2 for ``hot dog on``, 1 if no compound starts here."""
    for length in range(len(words), 1, -1):
        parts = words[:length]
        if not all(part.islower() for part in parts):
            continue
        number = singular(" ".join(parts))
        if number is not None and is_listed(number[0]):
            return length
        if parts[0] in STOP_WORDS or parts[-1] in STOP_WORDS or number is None or not is_noun(number[0]):
            continue
        name = number[0]
        if length == 2 and (is_colour(parts[0]) or is_size(parts[0])) and not _is_drink(name):
            continue  # a black cat is a cat that is black, not a marten; but white wine is not wine that is white
        if is_colour(parts[-1]):
            continue  # navy blue
        if length == 2 and not thing_senses(name) and _is_thing_with_adjective(*parts):
            continue  # a lame duck is a duck in a caption, not an official
        return length
    return 1


def _is_thing_with_adjective(first: str, second: str) -> bool:
    number = singular(second)
    return number is not None and bool(thing_senses(number[0])) and bool(wordnet().synsets(first, "a"))


def _is_drink(name: str) -> bool:
    return any(kind.name() in ("beverage.n.01", "tea.n.05") for sense in thing_senses(name) for kind in ancestors(sense))


@cache
def _tagger() -> PatternTagger:
    return PatternTagger()
