"""Whether a text is an English caption: captions from the web are in many languages, and some are not captions at all."""

import re
import unicodedata
from collections.abc import Sequence

from stages.language.wordnet import wordnet

MOST_WORDS, MOST_CHARACTERS = 50, 500
"""CLIP reads 77 tokens, two of them its own, and an English word takes about 1.3. It would not see the rest."""

GRAMMAR = frozenset(
    """a an the this that these those and or but if of in on at by to from with without for as into onto upon over under
    during among between against toward towards until since although because while unless whether which who whose whom
    what where when how why i you he she it we they me him us them my your his her its our their is are was were be been
    has have had do does did will would shall should can could may might must not no""".split()  # noqa: SIM905 - read as words
)
"""Words that WordNet lacks, or has as something else: "a" is a vitamin there."""

MARKS_OF_ENGLISH = GRAMMAR - frozenset(
    ["a", "an", "as", "at", "by", "do", "he", "i", "in", "is", "me", "no", "on", "or", "was", "will"]
)
"""The grammar words that no other language shares."""

MARKS_OF_OTHERS = frozenset(
    """le la les un une des du et dans avec sur aux qui est der das ein eine einen einem einer und mit auf dem den im ist
    el los las una del y en il gli della nel che um uma na com dos het een och och med aan bij""".split()  # noqa: SIM905 - read as words
)
"""French, German, Spanish, Italian, Portuguese, Dutch and Swedish grammar words that are not English."""

ELISION = re.compile(r"(?:[dlnjms]|qu)['’]\w")  # French and Italian: d'un, l'auto


def is_english(words: Sequence[str]) -> bool:
    """Return whether words are an English caption: in Latin letters, most in WordNet, not joined by foreign grammar.

    Capitalised words are ignored, because names are the same in all languages.
    """
    if any(char.isalpha() and "LATIN" not in unicodedata.name(char, "LATIN") for word in words for char in word):
        return False
    small = [word for word in words if word[0].isalpha() and word.islower()]
    foreign = sum(word in MARKS_OF_OTHERS or ELISION.match(word) is not None for word in small)
    if foreign > sum(word in MARKS_OF_ENGLISH for word in small):
        return False
    unknown = sum(not _is_known(word) for word in small)
    return 2 * unknown < max(len(small), 1)


def _is_known(word: str) -> bool:
    parts = re.split(r"['’-]", word)
    return word in GRAMMAR or any(wordnet().synsets(part) for part in (word, parts[0], parts[-1]) if part)
