"""Which words an edit may bring in: the section ``mutate`` with the word list that it names, or the families of ours."""

from dataclasses import dataclass
from pathlib import Path

from stages.core.errors import InputError
from stages.core.params import Mutate
from stages.language.contexts import words_brought_in
from stages.language.families import FAMILIES, families

COMMON = frozenset(
    """red yellow green blue purple pink orange brown black white
    small large big little tall short long old new young clean dirty wet dry open closed empty full thick thin wide narrow
    round square curly smooth rough dark""".split()  # noqa: SIM905 - read as words
)
"""The colours and opposites that an edit may bring in unless a word list says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Which words an edit may bring in, and how far they may be from the caption's word."""

    vocabulary: frozenset[str]  # an edit brings in no other word
    listed: bool = False  # whether families.txt says which nouns replace one another, rather than WordNet's hypernyms
    levels: int  # hypernyms to go up for co-hyponyms
    adjective_share: float  # share of captions with both whose adjective changes instead of the noun, in [0, 1]


def vocabulary_file(section: Mutate) -> Path:
    """Return the word list that the section ``mutate`` names; null means families.txt beside this module.

    Raises:
        InputError: there is no such file.
    """
    path = FAMILIES if section.vocabulary is None else Path(section.vocabulary)
    if not path.is_file():
        raise InputError(f"mutate.vocabulary = {str(path)!r}: no such file; a list of words, or null for {FAMILIES.name}")
    return path


def read_rules(section: Mutate) -> Rules:
    """Return the rules that the section ``mutate`` sets.

    Raises:
        InputError: the vocabulary is missing or empty, or one of its lines is not a single word in lower case.
    """
    path = vocabulary_file(section)
    if section.vocabulary is None:
        words = families().brought_in | COMMON | words_brought_in()
        return Rules(vocabulary=words, listed=True, levels=section.levels, adjective_share=section.adjective_share)
    lines = [line.partition("#")[0].strip() for line in path.read_text("utf-8", "replace").splitlines()]
    wrong = next((number for number, line in enumerate(lines, 1) if line and not (line.isalpha() and line.islower())), None)
    if wrong is not None:
        raise InputError(f"{path}:{wrong}: {lines[wrong - 1]!r}: one word in lower case on a line, comments after #")
    vocabulary = frozenset(line for line in lines if line)
    if not vocabulary:
        raise InputError(f"{path}: holds no word")
    return Rules(vocabulary=vocabulary, levels=section.levels, adjective_share=section.adjective_share)
