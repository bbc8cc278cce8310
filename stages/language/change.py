"""What a prompt that a person has written changes in a caption, in the terms of the stage mutate."""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from itertools import takewhile

from stages.core.errors import InputError
from stages.language.english import MOST_CHARACTERS, MOST_WORDS
from stages.language.mutation import Mutation, relation_of
from stages.language.phrases import find_adjectives, find_attributes, find_nouns, noun_phrase
from stages.language.senses import base_noun
from stages.language.units import Unit, find_units


def describe_change(caption: str, prompt: str, vocabulary: AbstractSet[str] | None = None) -> Mutation:
    """Return what a prompt changes in a caption: one thing, with its adjectives, or one adjective.

    Articles may follow the new word. All other words have to be the caption's.

    Args:
        caption: one sentence or phrase, on one line.
        prompt: likewise.
        vocabulary: the words that an edit may bring in; None: any.

    Raises:
        InputError: the prompt changes nothing, more than one place, or neither a noun nor an adjective; or it brings in a
            word that it may not.
    """
    if len(prompt.split()) > MOST_WORDS or len(prompt) > MOST_CHARACTERS:
        raise InputError(f"the prompt is longer than {MOST_WORDS} words or {MOST_CHARACTERS} characters")
    before, after = find_units(caption), find_units(prompt)
    start, end = _equal_ends(before, after)
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    if not old and not new:
        raise InputError("the prompt changes no word of the caption")
    if not old or not new:
        raise InputError(f"the prompt only {'leaves out' if old else 'adds'} {_words(old or new)!r}; it has to replace a word")
    strange = [word for unit in new for word in unit.word.split() if not _is_known(word, old, vocabulary)]
    if strange:
        raise InputError(f"mutate.vocabulary has no {strange[0]!r}, so that the models do not know it")
    source, target = _words(old), _words(new)
    listed = vocabulary is None
    nouns_before, nouns_after = find_nouns(before, listed=listed), find_nouns(after, listed=listed)
    last_before, last_after = len(before) - end - 1, len(after) - end - 1
    if last_before in nouns_before and last_after in nouns_after and _are_phrases(old, new):
        return _mutation(prompt, source, target, "co-hyponym")
    heads_before, heads_after = (
        find_attributes(units) | find_adjectives(units, nouns)
        for units, nouns in ((before, nouns_before), (after, nouns_after))
    )
    if len(old) == len(new) == 1 and start in heads_before and start in heads_after:
        thing = noun_phrase(before, heads_before[start], start)
        return _mutation(prompt, source, target, relation_of(source, target), thing)
    raise InputError(f"the prompt changes {source!r} to {target!r}; it has to replace one thing, or one adjective of a thing")


def _equal_ends(before: Sequence[Unit], after: Sequence[Unit]) -> tuple[int, int]:
    """Return how many units are equal at the start and, of the others, at the end."""

    def count(pairs: Iterable[tuple[Unit, Unit]]) -> int:
        return sum(1 for _ in takewhile(lambda pair: _same(*pair), pairs))

    start = count(zip(before, after, strict=False))
    return start, count(zip(reversed(before[start:]), reversed(after[start:]), strict=False))


def _same(one: Unit, other: Unit) -> bool:
    articles = ("a", "an")
    return one.word == other.word or (one.word in articles and other.word in articles)


def _are_phrases(*spans: Sequence[Unit]) -> bool:
    """Return whether only adjectives and nouns stand before the last word of each."""
    return all(unit.is_adjective or unit.is_noun for span in spans for unit in span[:-1])


def _is_known(word: str, old: Sequence[Unit], vocabulary: AbstractSet[str] | None) -> bool:
    known = {word, base_noun(word)}
    return vocabulary is None or not known.isdisjoint(vocabulary) or any(word in unit.word.split() for unit in old)


def _words(units: Sequence[Unit]) -> str:
    return " ".join(unit.word for unit in units)


def _mutation(prompt: str, source: str, target: str, relation: str, thing: str = "") -> Mutation:
    suffix = f" {thing}" if thing else ""
    return Mutation(
        edit_prompt=prompt,
        source_term=source,
        target_term=target,
        relation=relation,
        source_diff=source + suffix,
        target_diff=target + suffix,
    )
