"""The nouns and adjectives of a caption that an edit may change, and which adjective belongs to which noun."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stages.language.adjectives import is_colour
from stages.language.contexts import attribute, measured
from stages.language.families import families, is_listed
from stages.language.senses import base_noun, is_invariant, is_person, singular, thing_senses
from stages.language.units import STOP_WORDS, Unit

SHADES = frozenset(
    ["light", "dark", "bright", "pale", "deep", "hot", "neon", "navy", "baby", "sky", "royal", "lime", "olive", "off"]
)
"""Words that shade the colour after them: a light blue car does not become a light black one."""

ONE = frozenset(["a", "an", "one", "this", "that", "each", "every", "another", "single"])
SEVERAL = frozenset(
    "two three four five six seven eight nine ten several many some few these those both herd flock".split()  # noqa: SIM905
)
PARTS = frozenset(["top", "front"])  # as in "a stove top oven" and "a store front"
GROUPS = frozenset(["brood", "colony", "flock", "herd", "litter", "pack", "pride", "school", "swarm", "team"])
SEVERAL_OF = GROUPS | {"bunch", "couple", "group", "line", "lot", "number", "row"}
RIDING = frozenset(["ride", "rides", "riding", "ridden", "rode"])
JOINTS = frozenset(["and", "or", ",", "/", "&", "-"])
LINKS = frozenset(["is", "are", "was", "were", "that", "which", "being"])
COLLECTIONS = frozenset(
    """pair couple bunch group set row line number lot herd flock pile stack trio collection cup mug glass glasses bottle
    bowl plate slice piece tray basket box bag jar pot pan""".split()  # noqa: SIM905 - read as words
)


@dataclass(frozen=True, kw_only=True)
class CaptionNoun:
    """A noun of a caption that may change."""

    name: str  # in the singular
    is_plural: bool
    is_bare: bool  # without an article where others have one, as in "a man eating pizza"
    is_modified: bool  # by a noun before it that fits no other head: "stop sign"
    is_ridden: bool  # as in "a man riding a horse"
    measure: str  # the "slice" of "a slice of pizza"; else empty
    before: str  # what governs its phrase: the "hold" of "holding a red cup"; see _word_before
    behind: str  # the word behind it, or empty
    does: str  # the verb behind it in its base form, such as "sit"; or empty
    adjectives: frozenset[str]


def find_nouns(units: Sequence[Unit], *, listed: bool = False) -> dict[int, CaptionNoun]:
    """Return the nouns that may change, by their place among the units.

    Each is the head of its phrase, names a thing that a picture can show, and stands in the caption only once.

    Args:
        units: of a caption.
        listed: whether what families.txt lists may change as well: places, people by their trade, what is measured.
    """
    found = {place: _noun_at(units, place, listed=listed) for place in range(len(units))}
    nouns = {place: noun for place, noun in found.items() if noun is not None}
    uses = Counter(noun.name for noun in nouns.values())
    return {place: noun for place, noun in nouns.items() if uses[noun.name] == 1}


def find_adjectives(units: Sequence[Unit], nouns: Mapping[int, CaptionNoun]) -> dict[int, int]:
    """Return the places of the adjectives that may change, each with the place of its noun."""
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
        if head in nouns and nouns[head].name not in families().people:
            adjectives[place] = head  # never what somebody's body is like
    return adjectives


def find_attributes(units: Sequence[Unit]) -> dict[int, int]:
    """Return the places of words such as contexts.ATTRIBUTES has, each with the place of its noun.

    The noun stands behind it, heads its phrase, and is no person: the "brick" of "a brick house", "the sunny" of "a sunny day".
    """
    found = {}
    for place, unit in enumerate(units[:-1]):
        after = units[place + 1]
        if attribute(unit.word) is None or not unit.stands_free or _is_name(units, place) or _is_joined(units, place):
            continue
        if after.is_noun and not (is_person(after.word) or _is_shaded(units, place)) and _is_last_of_phrase(units, place + 1):
            found[place] = place + 1
    return found


def noun_phrase(units: Sequence[Unit], head: int, adjective: int = -1) -> str:
    """Return the noun at place ``head`` with the nouns before it, behind the adjective at its place: ``brick house``."""
    first = head
    while first > adjective + 1 and units[first - 1].is_noun:
        first -= 1
    return " ".join(unit.word for unit in units[first : head + 1])


def _noun_at(units: Sequence[Unit], place: int, *, listed: bool) -> CaptionNoun | None:
    """Return the noun that may change at a place, or None."""
    found = _name_and_number(units, place, listed=listed) if _stands_as_noun(units, place) else None
    if found is None:
        return None
    name, is_plural = found
    is_bare = not is_plural and not _has_determiner(units, place) and (_is_food(name) or not _is_headline(units))
    start = _phrase_start(units, place)
    measure = ""
    amount = units[start - 1].word if start > 0 and units[start].word == "of" else ""
    if amount not in ("", "game", "match") and (is_bare or amount in GROUPS):
        number = singular(amount)
        measure = number[0] if number and listed else ""
        if measured(measure, name) is None:
            return None  # "a slice of pizza", "a herd of elephants": there are no slices of soup, and no herds of eagles
    before = units[place - 1] if place > 0 else None
    is_modified = before is not None and not before.is_adjective and (before.is_noun or before.tag == "VB")
    is_ridden = any(word.word in RIDING for word in units[max(start - 1, 0) : start + 1])
    return CaptionNoun(
        name=name,
        is_plural=is_plural,
        is_bare=is_bare,
        is_modified=is_modified,
        is_ridden=is_ridden,
        measure=measure,
        before=_word_before(units, place, start),
        behind=_word_behind(units, place),
        does=_verb_behind(units, place),
        adjectives=frozenset(unit.word for unit in units[start + 1 : place]),
    )


def _stands_as_noun(units: Sequence[Unit], place: int) -> bool:
    """Return whether a unit is used as a noun that is more than grammar, a name or an amount."""
    unit = units[place]
    if not unit.stands_free or unit.word in STOP_WORDS or _is_name(units, place):
        return False
    if place + 1 < len(units) and units[place + 1].word == "of":
        return False  # "a slice of pizza": the amount, not the thing
    before = units[place - 1] if place > 0 else None
    # "an orange on a plate", "a saw on a bench": not tagged as nouns, but only a noun can stand there.
    follows_determiner = before is not None and (before.tag in ("DT", "CD", "PRP$") or before.is_adjective)
    is_noun = (unit.is_noun and not unit.is_adjective) or (follows_determiner and _is_last_of_phrase(units, place))
    return is_noun and not _is_joined_colour(units, place)


def _name_and_number(units: Sequence[Unit], place: int, *, listed: bool) -> tuple[str, bool] | None:
    """Return a noun's singular and whether it is a plural; None unless it heads its phrase and names a thing."""
    word = units[place].word
    number = singular(word)
    if listed and is_listed(word) and (number is None or word == "cattle"):
        return (word, True) if _is_last_of_phrase(units, place) else None  # trousers: only a plural
    if number is None or not (thing_senses(number[0]) or (listed and is_listed(number[0]))):
        return None
    name, is_plural = number
    if not is_plural and not _is_last_of_phrase(units, place):
        return None  # the "brick" of "brick house", the "light" of "light blue"
    if is_invariant(name):
        stated = _stated_plural(units, place)
        return None if stated is None else (name, stated)
    return name, is_plural


def _is_last_of_phrase(units: Sequence[Unit], place: int) -> bool:
    """Return whether no noun or adjective follows.

    The "pink" of "a pink rose" is not last, although the tagger takes "rose" for the past of "rise"; nor is the "stove" of
    "a stove top oven".
    """
    if place + 1 == len(units):
        return True
    after = units[place + 1]
    return not (
        after.is_noun
        or (after.word in PARTS and after.tag == "NN")
        or after.is_adjective
        or (units[place].is_adjective and thing_senses(after.word))
    )


def _is_headline(units: Sequence[Unit]) -> bool:
    """Return whether the caption is written without articles: "Red car in driveway"."""
    return units[0].tag.startswith(("NN", "JJ"))


def _is_name(units: Sequence[Unit], place: int) -> bool:
    """Return whether a word is written as a name: with a capital that is not due to its place at the start."""
    text = units[place].text
    if place > 0 or text[1:] != text[1:].lower():
        return text != text.lower()
    return text[0].isupper() and len(units) > 1 and units[1].text[0].isupper()


def _is_joined(units: Sequence[Unit], place: int) -> bool:
    """Return whether another adjective is joined to this one: in "black and white" neither changes alone."""
    neighbours = ((place - 1, place - 2), (place + 1, place + 2))
    if place > 0 and "-and-" in units[place - 1].word:  # red-and-white
        return True
    return any(
        0 <= joint < len(units) and 0 <= other < len(units) and units[joint].word in JOINTS and units[other].is_adjective
        for joint, other in neighbours
    )


def _is_joined_colour(units: Sequence[Unit], place: int) -> bool:
    """Return whether the word is like the "blue" of "a blue and orange bus"."""
    return units[place].is_adjective and _is_joined(units, place)


def _is_shaded(units: Sequence[Unit], place: int) -> bool:
    """Return whether the word is half of a colour such as "light blue"."""
    shade_before = place > 0 and units[place - 1].word in SHADES and is_colour(units[place].word)
    colour_after = place + 1 < len(units) and units[place].word in SHADES and is_colour(units[place + 1].word)
    return shade_before or colour_after


def _phrase_start(units: Sequence[Unit], head: int) -> int:
    """Return the place before a noun's adjectives and nouns, where its article stands; -1 at the start of the caption."""
    place = head - 1
    while place >= 0 and (units[place].is_adjective or units[place].is_noun or _is_inside(units, place)):
        place -= 1
    return place


def _is_inside(units: Sequence[Unit], place: int) -> bool:
    """Return whether a word stands inside a phrase: the "and" of "a black and white cat", the "parked" of "a parked car"."""
    before = units[place - 1] if place > 0 else None
    if before is None:
        return False
    if units[place].word in JOINTS:
        return before.is_adjective and units[place + 1].is_adjective
    return units[place].tag in ("VBN", "VBD", "VBG", "RB") and (before.tag in ("DT", "PRP$", "RB") or before.is_adjective)


def _word_before(units: Sequence[Unit], head: int, start: int) -> str:
    """Return what governs a noun's phrase: the word before its article, a verb in its base form ("hold", "on", "top of").

    "Of" and "to" come with the word before them; things that are joined have the same word, the "with" of "with a cup and a
    plate". It is empty at the start of the caption.
    """
    place = start - 1 if _has_determiner(units, head) or (start >= 0 and units[start].word in SEVERAL) else start
    if place >= 0 and units[place].tag in ("DT", "PRP$"):
        place -= 1  # "my two dogs"
    if place < 0:
        return ""
    if units[place].word in JOINTS:
        other = place
        while other > 0 and units[other].word in JOINTS:
            other -= 1
        return _word_before(units, other, _phrase_start(units, other)) if units[other].is_noun else units[place].word
    if units[place].word in ("of", "to") and place > 0:
        before = units[place - 1].word
        if before.isalpha() and base_noun(before) in COLLECTIONS:  # who holds a pair of scissors holds scissors
            return _word_before(units, place - 1, _phrase_start(units, place - 1))
        return f"{before} {units[place].word}"
    word = units[place].word
    if word == "at" and place > 0 and units[place - 1].verb in ("look", "stare"):
        return "look at"
    return (units[place].verb or word) if word[0].isalpha() else ""


def _word_behind(units: Sequence[Unit], head: int) -> str:
    """Return the word behind a noun; "with its" is one."""
    following = [unit.word for unit in units[head + 1 : head + 3]]
    return "with its" if following == ["with", "its"] else "".join(following[:1])


def _verb_behind(units: Sequence[Unit], head: int) -> str:
    """Return the base form of the verb behind a noun, as in "a dog sitting", "a dog that is sitting"; else an empty string."""
    place = head + 1
    while place < len(units) and (units[place].word in LINKS or units[place].tag == "RB"):
        place += 1
    return units[place].verb if place < len(units) else ""


def _has_determiner(units: Sequence[Unit], head: int) -> bool:
    start = _phrase_start(units, head)
    return start >= 0 and (units[start].tag in ("DT", "PDT", "CD", "PRP$", "POS") or units[start].word in ONE)


def _stated_plural(units: Sequence[Unit], head: int) -> bool | None:
    """Return whether the words before a noun such as "sheep" make it a plural; None if they leave it open."""
    start = _phrase_start(units, head)
    if start < 0:
        return None
    word = units[start].word
    if word == "of" and start > 0 and units[start - 1].word in SEVERAL_OF:
        return True  # "a herd of sheep"
    if word in ONE:
        return False
    return True if word in SEVERAL or (units[start].tag == "CD" and word != "1") else None


def _is_food(name: str) -> bool:
    return any(sense.lexname() == "noun.food" for sense in thing_senses(name))
