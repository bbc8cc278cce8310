"""The words of a caption: which are nouns and adjectives that an edit may change, and what belongs to what.

The tags are those of the Penn Treebank, by the tagger of Pattern (De Smedt and Daelemans 2012) that TextBlob ships. It knows
words by their commonest use, so its tags are checked against WordNet and the words around.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from textblob.taggers import PatternTagger

from stages.language.replacements import ACHROMATIC, CHROMATIC, is_colour, is_size
from stages.language.senses import ancestors, is_invariant, is_noun, singular, thing_senses
from stages.language.wordnet import wordnet

TOKEN = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|\d[\d.,]*|\S")
BEFORE = re.compile(r"(?:^|\s)[\"'“‘(\[]*$")
AFTER = re.compile(r"[\"'”’)\].,:;!?…]*(?:\s|$)")
LONGEST_COMPOUND = 4  # words: "chest of drawers", "coat of arms"

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
"""Words that an edit never touches: grammar, amounts, places in the picture, and talk of the picture itself."""

SHADES = frozenset(
    ["light", "dark", "bright", "pale", "deep", "hot", "neon", "navy", "baby", "sky", "royal", "lime", "olive", "off"]
)
"""They belong to the colour after them: a light blue car does not become a light black one."""

ONE = frozenset(["a", "an", "one", "this", "that", "each", "every", "another", "single"])
SEVERAL = frozenset(
    "two three four five six seven eight nine ten several many some few these those both herd flock".split()  # noqa: SIM905
)
GROUPS = frozenset(["brood", "colony", "flock", "herd", "litter", "pack", "pride", "school", "swarm", "team"])
RIDING = frozenset(["ride", "rides", "riding", "ridden", "rode"])
JOINTS = frozenset(["and", "or", ",", "/", "&", "-"])


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A word of a caption, or a compound that WordNet knows (hot dog), with what it may become."""

    start: int  # in the caption
    end: int
    text: str
    tag: str  # Penn Treebank
    stands_free: bool  # between spaces, give or take punctuation: not the "dog" of dog.jpg, #dog or cat/dog

    @property
    def word(self) -> str:
        """The unit in small letters."""
        return " ".join(self.text.lower().split())

    @property
    def is_noun(self) -> bool:
        """Whether the tagger takes it for a common noun."""
        return self.tag in ("NN", "NNS") and self.word not in STOP_WORDS and self.word[0].isalpha()

    @property
    def is_adjective(self) -> bool:
        """Whether it is an adjective; the tagger does not know every colour for one."""
        is_tagged = self.tag.startswith("JJ") and self.word[0].isalpha()
        return (is_tagged or self.word in CHROMATIC + ACHROMATIC) and self.word not in STOP_WORDS


@dataclass(frozen=True, kw_only=True)
class Noun:
    """A noun of a caption that may change."""

    name: str  # in the singular
    is_plural: bool
    is_bare: bool  # without an article where others have one, as in "a man eating pizza"
    is_modified: bool  # by a noun before it: "stop sign", where another head would not go with it
    is_ridden: bool  # as in "a man riding a horse"


def find_units(caption: str) -> list[Unit]:
    """Return the words and signs of a caption with their places and tags, compounds in one piece."""
    matches = list(TOKEN.finditer(caption))
    words = [match.group() for match in matches]
    tags = [tag for _, tag in _tagger().tag(" ".join(words), tokenize=False)]
    units = []
    place = 0
    while place < len(words):
        last = place + _compound_length(words[place : place + LONGEST_COMPOUND]) - 1
        start, end = matches[place].start(), matches[last].end()
        # The tag of the last word is that of the compound, which is a noun even where the tagger sees a verb in it.
        tag = tags[last] if last == place or tags[last].startswith("NN") else "NN"
        stands_free = BEFORE.search(caption[:start]) is not None and AFTER.match(caption[end:]) is not None
        units.append(Unit(start=start, end=end, text=caption[start:end], tag=tag, stands_free=stands_free))
        place = last + 1
    return units


def _compound_length(words: Sequence[str]) -> int:
    """Return how many of the first ``words`` are one noun in WordNet: 2 for ``hot dog on``, 1 where they are none."""
    for length in range(len(words), 1, -1):
        parts = words[:length]
        if not all(part.islower() for part in parts) or parts[0] in STOP_WORDS or parts[-1] in STOP_WORDS:
            continue
        number = singular(" ".join(parts))
        if number is None or not is_noun(number[0]):
            continue
        if length == 2 and (is_colour(parts[0]) or is_size(parts[0])) and not _is_drink(number[0]):
            continue  # a black cat is a cat that is black, not a marten; but white wine is not wine that is white
        if is_colour(parts[-1]) or (length == 2 and not thing_senses(number[0]) and _is_thing_with_adjective(*parts)):
            continue  # navy blue; a round table is a table here, and no meeting
        return length
    return 1


def find_nouns(units: Sequence[Unit]) -> dict[int, Noun]:
    """Return the nouns that may change, by their place among the units: each the head of its phrase, and a thing."""
    nouns = {}
    is_headline = bool(units) and units[0].tag.startswith(("NN", "JJ"))  # "Red car in driveway", without any article
    for place, unit in enumerate(units):
        before = units[place - 1] if place > 0 else None
        after = units[place + 1] if place + 1 < len(units) else None
        if (
            not unit.stands_free
            or unit.word in STOP_WORDS
            or _is_name(units, place)
            or (after is not None and after.word == "of")
        ):
            continue  # "a slice of pizza": the amount, not the thing
        is_last = after is None or not (after.is_noun or after.is_adjective)
        # "a pink rose": to the tagger "rose" is what the sun did.
        is_last = is_last and not (unit.is_adjective and after is not None and thing_senses(after.word))
        # "an orange on a plate", "a saw on a bench": not tagged as nouns, but nothing else can stand there.
        stands_for_noun = is_last and before is not None and (before.tag in ("DT", "CD", "PRP$") or before.is_adjective)
        if not (stands_for_noun or (unit.is_noun and not unit.is_adjective)) or _is_joined_colour(units, place):
            continue
        number = singular(unit.word)
        if number is None or not thing_senses(number[0]):
            continue
        name, is_plural = number
        if not is_last and not is_plural:
            continue  # the "brick" of "brick house", the "light" of "light blue"
        if is_invariant(name):
            told = _told_number(units, place)
            if told is None:
                continue
            is_plural = told
        is_bare = not is_plural and not _has_determiner(units, place) and (_is_food(name) or not is_headline)
        start = _phrase_start(units, place)
        if start > 0 and units[start].word == "of" and (is_bare or units[start - 1].word in GROUPS):
            continue  # "a slice of pizza", "a herd of elephants": there are no slices of soup, and no herds of eagles
        is_modified = before is not None and not before.is_adjective and (before.is_noun or before.tag == "VB")
        is_ridden = any(word.word in RIDING for word in units[max(start - 1, 0) : start + 1])
        nouns[place] = Noun(name=name, is_plural=is_plural, is_bare=is_bare, is_modified=is_modified, is_ridden=is_ridden)
    uses = Counter(noun.name for noun in nouns.values())
    return {place: noun for place, noun in nouns.items() if uses[noun.name] == 1}


def find_adjectives(units: Sequence[Unit], nouns: Mapping[int, Noun]) -> dict[int, int]:
    """Return the places of the adjectives that may change, each with the place of the noun that it belongs to."""
    adjectives = {}
    for place, unit in enumerate(units):
        if not unit.is_adjective or unit.tag in ("JJR", "JJS") or not unit.stands_free or _is_name(units, place):
            continue  # "the biggest" has no opposite with the same grammar
        if _is_joined(units, place) or _is_shaded(units, place):
            continue
        head = place + 1
        while head < len(units) and units[head].is_adjective and head not in nouns:
            head += 1
        while head + 1 < len(units) and units[head].is_noun and head not in nouns:
            head += 1
        if head in nouns:
            adjectives[place] = head
    return adjectives


def noun_phrase(units: Sequence[Unit], head: int) -> str:
    """Return a noun with the nouns before it: ``brick house``."""
    first = head
    while first > 0 and units[first - 1].is_noun:
        first -= 1
    return " ".join(unit.word for unit in units[first : head + 1])


def _is_name(units: Sequence[Unit], place: int) -> bool:
    """Tell whether a word is written as a name: with a capital that does not come from standing first."""
    text = units[place].text
    if place > 0 or text[1:] != text[1:].lower():
        return text != text.lower()
    return text[0].isupper() and len(units) > 1 and units[1].text[0].isupper()


def _is_joined(units: Sequence[Unit], place: int) -> bool:
    """Tell whether another adjective is joined to this one: "black and white", of which neither changes alone."""
    neighbours = ((place - 1, place - 2), (place + 1, place + 2))
    if place > 0 and "-and-" in units[place - 1].word:  # red-and-white
        return True
    return any(
        0 <= joint < len(units) and 0 <= other < len(units) and units[joint].word in JOINTS and units[other].is_adjective
        for joint, other in neighbours
    )


def _is_joined_colour(units: Sequence[Unit], place: int) -> bool:
    """Tell whether the word is the "blue" of "a blue and orange bus"."""
    return units[place].is_adjective and _is_joined(units, place)


def _is_shaded(units: Sequence[Unit], place: int) -> bool:
    """Tell whether the word is half of a colour such as "light blue"."""
    shade_before = place > 0 and units[place - 1].word in SHADES and is_colour(units[place].word)
    colour_after = place + 1 < len(units) and units[place].word in SHADES and is_colour(units[place + 1].word)
    return shade_before or colour_after


def _phrase_start(units: Sequence[Unit], head: int) -> int:
    """Return the place before the adjectives and nouns that come with a noun, where its article stands; -1 if nothing is."""
    place = head - 1
    while place >= 0 and (units[place].is_adjective or units[place].is_noun or _is_inside(units, place)):
        place -= 1
    return place


def _is_inside(units: Sequence[Unit], place: int) -> bool:
    """Tell whether a word stands inside a phrase: the "and" of "a black and white cat", the "parked" of "a parked car"."""
    before = units[place - 1] if place > 0 else None
    if before is None:
        return False
    if units[place].word in JOINTS:
        return before.is_adjective and units[place + 1].is_adjective
    return units[place].tag in ("VBN", "VBD", "VBG", "RB") and (before.tag in ("DT", "PRP$", "RB") or before.is_adjective)


def _has_determiner(units: Sequence[Unit], head: int) -> bool:
    start = _phrase_start(units, head)
    return start >= 0 and (units[start].tag in ("DT", "PDT", "CD", "PRP$", "POS") or units[start].word in ONE)


def _told_number(units: Sequence[Unit], head: int) -> bool | None:
    """Return whether the words before a noun such as "sheep" say that there are several, or nothing if they do not say."""
    start = _phrase_start(units, head)
    if start < 0:
        return None
    word = units[start].word
    if word in ONE:
        return False
    return True if word in SEVERAL or (units[start].tag == "CD" and word != "1") else None


def _is_thing_with_adjective(first: str, second: str) -> bool:
    number = singular(second)
    return number is not None and bool(thing_senses(number[0])) and bool(wordnet().synsets(first, "a"))


def _is_drink(name: str) -> bool:
    return any(kind.name() in ("beverage.n.01", "tea.n.05") for sense in thing_senses(name) for kind in ancestors(sense))


def _is_food(name: str) -> bool:
    return any(sense.lexname() == "noun.food" for sense in thing_senses(name))


@cache
def _tagger() -> PatternTagger:
    return PatternTagger()
