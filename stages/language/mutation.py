"""From a caption to an edit prompt: replace one noun by a co-hyponym, or one adjective by another colour or its antonym.

After iEdit (section 3.1, Figure 2): "a blue and orange bus on white background" becomes "a blue and orange train on white
background". An edit also records the words to mask by: the noun, or the adjective with its noun.
"""

import random
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

from stages.language.adjectives import antonym, is_colour, other_colours, stands_upright
from stages.language.clashes import clashes
from stages.language.contexts import COLOURED_BY_NATURE, RIDDEN, attribute, measured, other_attributes
from stages.language.english import MOST_CHARACTERS, MOST_WORDS, is_english
from stages.language.families import is_in_family
from stages.language.fitting import replacements
from stages.language.nouns import co_hyponyms
from stages.language.phrases import CaptionNoun, find_adjectives, find_attributes, find_nouns, noun_phrase
from stages.language.rules import Rules
from stages.language.senses import article, base_noun, plural, singular_form, thing_senses
from stages.language.units import Unit, find_units

MASS = frozenset(
    """beer broccoli cabbage cauliflower champagne coffee corn lasagna lettuce pizza salad tea wine
    asparagus bacon bread butter celery cheese curry ham honey jam kale ketchup lemonade mayonnaise milk mustard pasta rice
    risotto soda spaghetti spinach steak stew sushi toast
    grass gravel mud sand snow
    cello clarinet flute guitar piano saxophone trombone trumpet violin
    badminton baseball basketball cricket frisbee rugby soccer tennis volleyball
    night sunset""".split()  # noqa: SIM905 - read as words
)
"""Words that can stand without an article: "eating pizza" may become "eating salad", but not "eating hamburger"."""

UNCOUNTABLE = frozenset(
    """broccoli champagne corn lettuce
    asparagus bacon bread butter celery cheese grass gravel ham honey jam kale ketchup lemonade mayonnaise milk mud mustard
    pasta rice risotto sand snow soda spaghetti spinach sushi toast
    badminton baseball basketball cricket rugby soccer tennis volleyball rain""".split()  # noqa: SIM905 - read as words
) | {"hot chocolate", "orange juice"}
"""Words that only stand without an article: there is no "a corn", and there are no "broccolis"."""


class Dropped(StrEnum):
    """Why a caption has no edit."""

    EMPTY = "empty caption"
    TOO_LONG = f"caption longer than {MOST_WORDS} words or {MOST_CHARACTERS} characters"
    NOT_ENGLISH = "caption not in English, or misspelt"
    NOTHING_TO_CHANGE = "no noun or adjective to change"
    NO_REPLACEMENT = "no allowed replacement for its nouns and adjectives"


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """An edit of a caption."""

    edit_prompt: str
    source_term: str  # as in the caption: "buses"
    target_term: str  # as in the edit prompt: "trucks"
    relation: str  # "co-hyponym", "colour", "antonym", "material", "pattern", "weather", "ground" or "traffic"
    source_diff: str  # what to mask in the source image: "buses", "red car"
    target_diff: str  # what to mask in the target image: "trucks", "blue car"


@dataclass(frozen=True, kw_only=True)
class PossibleEdits:
    """What may change in a caption, and into what; a place is the index of a unit."""

    caption: str
    units: list[Unit]
    nouns: Mapping[int, CaptionNoun]
    heads: Mapping[int, int]  # place of an adjective → place of its noun
    noun_edits: Mapping[int, list[str]]  # place → words that may stand there instead
    adjective_edits: Mapping[int, list[str]]

    def edit(self, place: int, word: str) -> Mutation:
        """Return the caption with the unit at ``place`` replaced by ``word``."""
        source = self.units[place].word
        if place in self.adjective_edits:
            thing = f" {noun_phrase(self.units, self.heads[place], place)}"
            target, relation = word, relation_of(source, word)
        else:
            thing = ""
            target, relation = plural(word) if self.nouns[place].is_plural else word, "co-hyponym"
        return Mutation(
            edit_prompt=_replace(self.caption, self.units, place, target),
            source_term=source,
            target_term=target,
            relation=relation,
            source_diff=source + thing,
            target_diff=target + thing,
        )

    def all_edits(self) -> list[Mutation]:
        """Return every edit of the caption."""
        edits = [*self.noun_edits.items(), *self.adjective_edits.items()]
        return [self.edit(place, word) for place, words in edits for word in words]


def mutate_caption(caption: str, rules: Rules, seed: int) -> Mutation | Dropped:
    """Return an edit of ``caption``, or why there is none. The same arguments give the same edit.

    Args:
        caption: one sentence or phrase, on one line.
        rules: which words may be brought in.
        seed: the seed of this caption's draw.
    """
    possible = find_edits(caption, rules)
    if isinstance(possible, Dropped):
        return possible
    draw = random.Random(seed)
    nouns, adjectives = possible.noun_edits, possible.adjective_edits
    is_adjective = bool(adjectives) and (not nouns or draw.random() < rules.adjective_share)
    edits = adjectives if is_adjective else nouns
    place = draw.choice(sorted(edits))
    return possible.edit(place, draw.choice(edits[place]))


def find_edits(caption: str, rules: Rules) -> PossibleEdits | Dropped:
    """Return every edit of ``caption`` that the rules allow, or why there is none."""
    if not caption.strip():
        return Dropped.EMPTY
    if len(caption.split()) > MOST_WORDS or len(caption) > MOST_CHARACTERS:
        return Dropped.TOO_LONG
    units = find_units(caption)
    if not is_english([word for unit in units for word in unit.text.split()]):
        return Dropped.NOT_ENGLISH
    nouns, heads = find_places(units, rules)
    if not nouns and not heads:
        return Dropped.NOTHING_TO_CHANGE
    present = {unit.word for unit in units} | {noun.name for noun in nouns.values()}
    noun_others = {
        place: _others(noun, _words_beside(units, place), rules) for place, noun in nouns.items() if not noun.is_modified
    }
    adjective_others = {place: _opposites(units, place, head, nouns.get(head), rules) for place, head in heads.items()}
    noun_edits, adjective_edits = _without(noun_others, present), _without(adjective_others, present)
    if not noun_edits and not adjective_edits:
        return Dropped.NO_REPLACEMENT
    return PossibleEdits(
        caption=caption,
        units=units,
        nouns=nouns,
        heads=heads,
        noun_edits=noun_edits,
        adjective_edits=adjective_edits,
    )


def find_places(units: Sequence[Unit], rules: Rules) -> tuple[dict[int, CaptionNoun], dict[int, int]]:
    """Return the nouns and the adjectives that may change, by their places; an adjective with the place of its noun."""
    nouns = find_nouns(units, listed=rules.listed)
    return nouns, find_adjectives(units, nouns) | (find_attributes(units) if rules.listed else {})


def relation_of(adjective: str, other: str) -> str:
    """Return what kind of edit it is to replace an adjective by another: empty by busy is "traffic", by full "antonym"."""
    kind = attribute(adjective)
    if kind is not None and kind == attribute(other):
        return kind
    return "colour" if is_colour(adjective) else "antonym"


def _words_beside(units: Sequence[Unit], place: int) -> frozenset[str]:
    """Return the other words of a caption, with their parts, the singulars of its nouns and the base forms of its verbs."""
    others = [unit for other, unit in enumerate(units) if other != place]
    beside = {word for unit in others for word in (unit.word, *unit.word.split())}
    nouns = {word for unit in others if unit.is_noun for word in (unit.word, *unit.word.split())}
    singulars = {form for noun in nouns for form in (base_noun(noun), singular_form(noun))}
    verbs = {unit.verb for unit in others}
    return frozenset(beside | singulars | verbs)


def _others(noun: CaptionNoun, present: AbstractSet[str], rules: Rules) -> tuple[str, ...]:
    """Return the words that may stand in a noun's place.

    Args:
        noun: of a caption.
        present: the other words of the caption, see :func:`_words_beside`.
        rules: which words may be brought in.
    """
    if noun.measure:
        return tuple(other for other in measured(noun.measure, noun.name) or () if not clashes(other, present))
    others = replacements(noun, present) if rules.listed else co_hyponyms(noun.name, rules)
    if noun.is_ridden:
        others = tuple(other for other in others if other in RIDDEN)
    if noun.is_bare:
        return tuple(other for other in others if other in MASS)
    if rules.listed and noun.name in UNCOUNTABLE:
        return others  # "in the snow" and "in the sand"
    return tuple(other for other in others if other not in UNCOUNTABLE)


def _opposites(units: Sequence[Unit], place: int, head: int, noun: CaptionNoun | None, rules: Rules) -> tuple[str, ...]:
    """Return the words that may stand in the place of an adjective of the noun at place ``head``."""
    others = _other_adjectives(units[place].word, units[head].word, noun, rules)
    present = _words_beside(units, place)
    return tuple(other for other in others if not (rules.listed and clashes(other, present)))


def _other_adjectives(adjective: str, head: str, noun: CaptionNoun | None, rules: Rules) -> tuple[str, ...]:
    if rules.listed and (others := other_attributes(adjective, base_noun(head))):
        return others
    if noun is None:
        return ()
    if is_colour(adjective):
        if rules.listed and _has_one_colour(noun.name):
            return ()
        return other_colours(adjective, rules, coat=rules.listed and _is_living(noun.name))
    opposite = antonym(adjective, rules, living=_is_living(noun.name), upright=stands_upright(noun.name))
    return () if opposite is None else (opposite,)


def _without(edits: Mapping[int, tuple[str, ...]], present: AbstractSet[str]) -> dict[int, list[str]]:
    """Leave out words that the caption already has, and places without any word left."""
    remaining = {place: [other for other in others if other not in present] for place, others in edits.items()}
    return {place: others for place, others in remaining.items() if others}


def _replace(caption: str, units: Sequence[Unit], place: int, target: str) -> str:
    """Return the caption with the unit at ``place`` replaced, and the article adapted to the new word."""
    unit, before = units[place], units[place - 1] if place > 0 else None
    text = target.capitalize() if unit.text[0].isupper() else target
    start = unit.start
    if before is not None and before.word in ("a", "an"):
        new_article = article(target)
        start = before.start
        text = (
            f"{new_article.capitalize() if before.text[0].isupper() else new_article}{caption[before.end : unit.start]}{text}"
        )
    return caption[:start] + text + caption[unit.end :]


def _has_one_colour(name: str) -> bool:
    """Return whether a thing's colour is its nature's: a field, a fire truck, food, a plant that is no flower."""
    if name in COLOURED_BY_NATURE:
        return True
    topics = {sense.lexname() for sense in thing_senses(name)[:1]}
    return "noun.food" in topics or ("noun.plant" in topics and name != "flower" and not is_in_family(name, "flower"))


def _is_living(name: str) -> bool:
    return any(sense.lexname() == "noun.animal" for sense in thing_senses(name)[:1])
